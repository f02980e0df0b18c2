/** Processes that outlive the agent, told apart from later ones with the same number by their start time. */
import { readdir, readFile, readlink } from 'node:fs/promises'
import { setTimeout as pause } from 'node:timers/promises'

/** `start` is field 22 of /proc/PID/stat: clock ticks since the host's boot. */
export type ProcessMark = { readonly pid: number; readonly start: string }

type Stat = { readonly state: string; readonly start: string }

async function statOf(pid: number): Promise<Stat | null> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8')
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return { state: fields[0] ?? '', start: fields[19] ?? '' }
  } catch {
    return null
  }
}

export async function markOf(pid: number): Promise<ProcessMark | null> {
  const stat = await statOf(pid)
  return stat === null ? null : { pid, start: stat.start }
}

/**
 * Whether the process has ended with all its threads, so that its files are closed and their locks free. A zombie whose other
 * threads still run has not: it waits in the list of processes for its parent and for them.
 */
export async function isGone({ pid, start }: ProcessMark): Promise<boolean> {
  const stat = await statOf(pid)
  if (stat === null || stat.start !== start) return true
  if (stat.state !== 'Z' && stat.state !== 'X') return false
  return (await readdir(`/proc/${pid}/task`).catch(() => [])).length <= 1
}

/** True when the process has gone within the time. */
export async function goneWithin(mark: ProcessMark, ms: number): Promise<boolean> {
  const until = performance.now() + ms
  for (;;) {
    if (await isGone(mark)) return true
    if (performance.now() >= until) return false
    await pause(1)
  }
}

export async function killProcess(mark: ProcessMark): Promise<void> {
  if (await isGone(mark)) return
  try {
    process.kill(mark.pid, 'SIGKILL')
  } catch {
    // gone in between
  }
}

/** The process that was started with this machine uuid and has this directory open as its descriptor 3. */
export async function findByUuid(uuid: string, directory: string): Promise<ProcessMark | null> {
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const words = (await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '')).split('\0')
    if (!words.includes('-uuid') || !words.includes(uuid)) continue
    const open = await readlink(`/proc/${name}/fd/3`).catch(() => null)
    const mark = open === directory ? await markOf(Number(name)) : null
    if (mark !== null && !(await isGone(mark))) return mark
  }
  return null
}

export const bootIdOf = async (): Promise<string> => (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()
