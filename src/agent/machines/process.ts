/** Machines' processes, which outlive the agent, found again. */
import { readdir, readFile, readlink } from 'node:fs/promises'
import { isGone, markOf, type ProcessMark } from '../../adapters/storage/processes.ts'

/** `cutOff`: the directory of its sockets was taken away, so nobody can ever speak with it again. */
export type FoundProcess = ProcessMark & { readonly cutOff: boolean }

/** The process that was started with this machine uuid and has this directory open as its descriptor 3. */
export async function findByUuid(uuid: string, directory: string): Promise<FoundProcess | null> {
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const words = (await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '')).split('\0')
    if (!words.includes('-uuid') || !words.includes(uuid)) continue
    const open = await readlink(`/proc/${name}/fd/3`).catch(() => null)
    const cutOff = open === `${directory} (deleted)`
    const mark = open === directory || cutOff ? await markOf(Number(name)) : null
    if (mark !== null && !(await isGone(mark))) return { ...mark, cutOff }
  }
  return null
}

export const bootIdOf = async (): Promise<string> => (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()
