/** Processes that say in their environment for whom they work, so that whoever comes after an agent that was killed finds and ends them. */
import { readdir, readFile } from 'node:fs/promises'
import { isGone, markOf, type ProcessMark } from './processes.ts'

/** The directory that it works for; the launcher finds QEMU's programs by it too. */
const directoryIn = 'COMEBACK_WORKS_FOR'
const parentIn = 'COMEBACK_STARTED_BY'

/** What a process that this one starts gets into its environment. */
export async function worksFor(directory: string): Promise<Readonly<Record<string, string>>> {
  return { [directoryIn]: directory, [parentIn]: JSON.stringify(await markOf(process.pid)) }
}

/** The processes that work for this directory and whose parents have died. */
export async function orphansOf(directory: string): Promise<readonly ProcessMark[]> {
  const found: ProcessMark[] = []
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const pairs = (await readFile(`/proc/${name}/environ`, 'utf8').catch(() => '')).split('\0')
    if (!pairs.includes(`${directoryIn}=${directory}`)) continue
    const parent: ProcessMark | null = JSON.parse(
      pairs.find((pair) => pair.startsWith(`${parentIn}=`))?.slice(parentIn.length + 1) ?? 'null',
    )
    const mark = parent === null || (await isGone(parent)) ? await markOf(Number(name)) : null
    if (mark !== null) found.push(mark)
  }
  return found
}
