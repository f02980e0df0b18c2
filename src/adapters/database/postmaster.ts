import { randomUUID } from 'node:crypto'
import { readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const firstLine = async (path: string): Promise<string | undefined> =>
  (await readFile(path, 'utf8').catch(() => '')).split('\n')[0]

/** The live postmaster of this data directory. A dead one that nobody has reaped yet has no working directory any more. */
export async function postmasterOf(dataDir: string): Promise<number | null> {
  const pid = Number(await firstLine(join(dataDir, 'postmaster.pid')))
  if (!Number.isInteger(pid) || pid <= 1) return null
  try {
    const [works, data] = await Promise.all([stat(`/proc/${pid}/cwd`), stat(dataDir)])
    return works.dev === data.dev && works.ino === data.ino ? pid : null
  } catch {
    return null
  }
}

/**
 * Takes away the lock files of a postmaster that was killed and is only not reaped yet: process 1 of a small machine may take
 * minutes, and every new server would take it for alive. Only when nothing of it lives: all processes of a server work in its data directory.
 */
export async function unlockDead(dataDir: string, socketLock: string): Promise<void> {
  for (const file of [join(dataDir, 'postmaster.pid'), socketLock]) {
    const pid = await firstLine(file)
    const state = pid ? await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '') : ''
    if (!/^\d+ \(postgres\) [ZX] /.test(state) || (await worksIn(dataDir))) continue
    const aside = `${file}.${randomUUID()}`
    await rename(file, aside).catch(() => undefined)
    // Somebody else may have been quicker, and a new server's file be in our hands.
    if ((await firstLine(aside)) === pid) await rm(aside)
    else await rename(aside, file).catch(() => undefined)
  }
}

async function worksIn(directory: string): Promise<boolean> {
  const wanted = await stat(directory)
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const at = await stat(`/proc/${name}/cwd`).catch(() => null)
    if (at?.dev === wanted.dev && at.ino === wanted.ino) return true
  }
  return false
}

const alive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

const untilGone = async (dataDir: string, pid: number, withinMs: number): Promise<boolean> => {
  for (const end = Date.now() + withinMs; Date.now() < end; await sleep(10)) {
    if (!alive(pid) || (await postmasterOf(dataDir)) === null) return true
  }
  return false
}

/**
 * Fast shutdown (SIGINT: clients are sent away, what is committed is written), and after 30 s the immediate one (SIGQUIT: the
 * next start recovers from the log). False when nothing ran.
 */
export async function stopPostgres(dataDir: string, withinMs = 30_000): Promise<boolean> {
  const pid = await postmasterOf(dataDir)
  if (pid === null) return false
  process.kill(pid, 'SIGINT')
  if (await untilGone(dataDir, pid, withinMs)) return true
  process.kill(pid, 'SIGQUIT')
  if (await untilGone(dataDir, pid, 10_000)) return true
  throw new Error(`PostgreSQL (process ${pid}) does not stop`)
}
