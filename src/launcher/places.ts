/**
 * Where things are. The state directory keeps what must survive; the runtime directory is short, holds sockets, and is gone
 * after a reboot. When root starts this, PostgreSQL and QEMU run as users of their own, who must be able to reach the state:
 * where a directory above it shuts them out, everything runs in a private mount namespace in which the state is also mounted in
 * the runtime directory. The namespace ends with its last process, and with it the mount.
 */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, lstat, mkdir, stat } from 'node:fs/promises'
import { constants } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { refuse } from '../domain/refusals.ts'

const run = promisify(execFile)
const root = process.getuid?.() === 0
/** Set for ourselves when we run inside the namespace. */
const insideMark = 'COMEBACK_INSIDE'

export type Places = {
  /** As the user knows it. */
  readonly state: string
  readonly run: string
  /** The state as PostgreSQL, agent and controller see it. */
  readonly stateInside: string
}

/** Makes both directories, and goes on inside the namespace if one is needed: then this process ends with the other's result. */
export async function preparePlaces(state: string, runDir: string): Promise<Places> {
  await makeState(state)
  await makeRun(runDir)
  if (process.env[insideMark] === '1') return { state, run: runDir, stateInside: await mountedIn(runDir, state) }
  const wall = root ? await wallAbove(state) : null
  if (wall !== null) return await goInside(wall)
  return { state, run: runDir, stateInside: state }
}

async function makeState(state: string): Promise<void> {
  try {
    await mkdir(state, { recursive: true, mode: 0o755 })
    const { mode } = await stat(state)
    if (root && (mode & 0o001) === 0) await chmod(state, (mode & 0o7777) | 0o111) // what is inside keeps its own modes
  } catch (error) {
    throw refuse.setup({
      why: `The state directory ${state} cannot be made: ${error instanceof Error ? error.message : error}.`,
    })
  }
}

async function makeRun(runDir: string): Promise<void> {
  const mode = root ? 0o711 : 0o700
  await mkdir(dirname(runDir), { recursive: true, mode })
  await mkdir(runDir, { recursive: true, mode })
  if (!(await isOurs(runDir)) || !(await isSafeAbove(dirname(runDir)))) {
    throw refuse.setup({ why: `The runtime directory ${runDir} belongs to somebody else. Set COMEBACK_RUN to another one.` })
  }
}

async function isOurs(folder: string): Promise<boolean> {
  const { uid, mode } = await lstat(folder)
  return uid === process.getuid?.() && (mode & 0o022) === 0
}

/** Nobody but root could put another directory in the place of what is in it. */
async function isSafeAbove(folder: string): Promise<boolean> {
  const { uid, mode } = await lstat(folder)
  return (await isOurs(folder)) || (uid === 0 && ((mode & 0o022) === 0 || (mode & 0o1000) !== 0))
}

/** The nearest directory above that other users may not pass. */
async function wallAbove(path: string): Promise<string | null> {
  for (let folder = dirname(path); ; folder = dirname(folder)) {
    if (((await stat(folder)).mode & 0o001) === 0) return folder
    if (folder === dirname(folder)) return null
  }
}

async function goInside(wall: string): Promise<never> {
  const [script = '', ...args] = process.argv.slice(1)
  const child = spawn('unshare', ['--mount', '--propagation', 'private', process.execPath, script, ...args], {
    stdio: 'inherit',
    env: { ...process.env, [insideMark]: '1' },
  })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal))
  child.on('error', () => {})
  const [code, signal] = await once(child, 'exit').catch(() => [null, null])
  if (code === null && signal === null) {
    throw refuse.setup({
      why: `${wall} lets no other user pass, and util-linux's unshare is missing. Set COMEBACK_STATE to a directory elsewhere.`,
    })
  }
  process.exit(signal ? 128 + constants.signals[signal as NodeJS.Signals] : code)
}

async function mountedIn(runDir: string, state: string): Promise<string> {
  const inside = join(runDir, 'state')
  await mkdir(inside, { recursive: true, mode: 0o711 })
  try {
    await run('mount', ['--bind', state, inside], { timeout: 10_000 })
  } catch (error) {
    throw refuse.setup({
      why: `A directory above ${state} lets no other user pass, and this system forbids mounting (${error instanceof Error ? error.message.trim() : error}). Set COMEBACK_STATE to a directory elsewhere.`,
    })
  }
  return inside
}
