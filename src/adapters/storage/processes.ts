/** Processes that outlive whoever started them, told apart from later ones with the same number by their start time. */
import { readdir, readFile } from 'node:fs/promises'
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
