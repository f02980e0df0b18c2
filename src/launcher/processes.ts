/** Our detached processes, found by what they are and not by a file that names them: their program, and the runtime directory in their environment. */
import { spawn } from 'node:child_process'
import { open, readdir, readFile, readlink, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { isGone } from '../adapters/storage/processes.ts'

export type Service = 'agent' | 'controller'

export const programs: Readonly<Record<Service, string>> = {
  agent: new URL('../agent/main.ts', import.meta.url).pathname,
  controller: new URL('../main.ts', import.meta.url).pathname,
}

/** Compiled sources are kept here, by us and by bootstrap.mjs: a service then starts in half the time. */
const compiled = new URL('../../node_modules/.cache/node', import.meta.url).pathname

/** A process, safe against reuse of its number: `start` is the moment it began, in clock ticks since boot. */
export type Running = {
  readonly pid: number
  readonly start: string
  readonly argv: readonly string[]
  readonly env: ReadonlyMap<string, string>
}

const strings = (text: string): string[] => text.split('\0').filter(Boolean)

/** Null if it has ended, is a zombie, or is not ours to look at. */
async function look(pid: number): Promise<Running | null> {
  try {
    const [stat, command, environ] = await Promise.all(
      ['stat', 'cmdline', 'environ'].map((file) => readFile(`/proc/${pid}/${file}`, 'utf8')),
    )
    const [state, ...rest] = (stat ?? '').slice((stat ?? '').lastIndexOf(')') + 2).split(' ')
    if (state === 'Z' || state === 'X') return null
    const env = strings(environ ?? '').map((pair): [string, string] => [
      pair.slice(0, pair.indexOf('=')),
      pair.slice(pair.indexOf('=') + 1),
    ])
    return { pid, start: rest[18] ?? '', argv: strings(command ?? ''), env: new Map(env) }
  } catch {
    return null
  }
}

/** Until its last thread is gone it holds its sockets and locks. */
export const isAlive = async (process: Pick<Running, 'pid' | 'start'>): Promise<boolean> => !(await isGone(process))

async function all(): Promise<Running[]> {
  const pids = (await readdir('/proc')).map(Number).filter(Number.isInteger)
  return (await Promise.all(pids.map(look))).filter((each) => each !== null)
}

/** Whoever started it: another clone of the project may have. */
export async function findService(service: Service, runDir: string, program = programs[service]): Promise<Running | null> {
  const found = await all()
  const tail = program.split('/').slice(-2).join('/')
  return found.find(({ argv, env }) => `/${argv[1]}`.endsWith(`/${tail}`) && env.get('COMEBACK_RUN') === runDir) ?? null
}

/** QEMU's programs that use one of these directories: by a path in their arguments, what they were started for, or what they have open. */
export async function findQemu(...directories: readonly string[]): Promise<readonly Running[]> {
  const isBelow = (path: string) => directories.some((directory) => path.includes(`${directory}/`))
  const qemus = (await all()).filter(({ argv }) => /(^|\/)qemu-[a-z0-9_-]+$/.test(argv[0] ?? ''))
  const isFor = ({ argv, env }: Running) => argv.some(isBelow) || isBelow(env.get('COMEBACK_WORKS_FOR') ?? '')
  const uses = await Promise.all(qemus.map(async (each) => isFor(each) || (await openFiles(each.pid)).some(isBelow)))
  return qemus.filter((_, n) => uses[n])
}

async function openFiles(pid: number): Promise<string[]> {
  const files = await readdir(`/proc/${pid}/fd`).catch(() => [])
  return await Promise.all(files.map((file) => readlink(`/proc/${pid}/fd/${file}`).catch(() => '')))
}

const keptLogs = 4

/** A new process begins a new log; the last few are kept. */
export async function rotate(file: string): Promise<void> {
  for (let n = keptLogs - 1; n >= 0; n -= 1) {
    await rename(n === 0 ? file : `${file}.${n}`, `${file}.${n + 1}`).catch(() => {})
  }
}

/**
 * The agent passes large uploads on; what it allocated for them goes back to the host at once instead of being kept for the next
 * (131 MiB resident after some uploads without these, 93 with them).
 */
const memory: Readonly<Record<Service, Readonly<Record<string, string>>>> = {
  agent: {
    NODE_OPTIONS: '--max-semi-space-size=1',
    MALLOC_ARENA_MAX: '1',
    MALLOC_MMAP_THRESHOLD_: '32768',
    MALLOC_TRIM_THRESHOLD_: '65536',
  },
  controller: {},
}

/** Starts a service in a session of its own, so that neither Ctrl-C nor a closed terminal reaches it. */
export async function startService(
  service: Service,
  logs: string,
  env: Readonly<Record<string, string>>,
  program = programs[service],
) {
  const logFile = join(logs, `${service}.log`)
  await rotate(logFile)
  const log = await open(logFile, 'a', 0o640)
  try {
    const child = spawn(process.execPath, [program], {
      detached: true,
      cwd: '/',
      env: { NODE_COMPILE_CACHE: compiled, ...memory[service], ...process.env, ...env },
      stdio: ['ignore', log.fd, log.fd],
    })
    const ended = new Promise<string>((resolve) => {
      child.once('error', (error) => resolve(error.message))
      child.once('exit', (code, signal) => resolve(signal ?? `exit code ${code}`))
    })
    child.unref()
    return { pid: child.pid, ended, logFile }
  } finally {
    await log.close()
  }
}

/** Asks it to end, and ends it when the time is over. */
export async function stopProcess(
  running: Running,
  graceMs: number,
  ask: NodeJS.Signals = 'SIGTERM',
): Promise<'asked' | 'killed'> {
  const signal = (name: NodeJS.Signals) => {
    try {
      process.kill(running.pid, name)
    } catch {} // it has ended
  }
  if (await isAlive(running)) signal(ask)
  for (const end = Date.now() + graceMs; Date.now() < end; await sleep(15)) if (!(await isAlive(running))) return 'asked'
  if (await isAlive(running)) signal('SIGKILL')
  while (await isAlive(running)) await sleep(15)
  return 'killed'
}
