/**
 * One job in a process of its own: its memory and processor time are its own, a file system that hangs holds up nobody else, and it
 * can be killed. It ends with the agent: the kernel ends it, and its standard input closes.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { resolve } from 'node:path'
import { worksFor } from '../../adapters/storage/orphans.ts'
import { Refusal, refuse } from '../../domain/refusals.ts'
import { failpoint } from '../../failpoints.ts'
import type { Log } from '../../ports/log.ts'
import type { MoveProgress } from '../../ports/vault-mover.ts'
import { cutIntoLines } from '../qmp/messages.ts'
import { type Job, type Said, said } from './job.ts'

export type MoverProcessOptions = {
  /** The program that does jobs. */
  readonly program: string
  /** For whom it says that it works. */
  readonly worksFor: string
  readonly log: Log
  /** A mover that says nothing for so long is ended. It speaks every second. */
  readonly silenceMs: number
}

/** What the job itself keeps; buffers come beside it. */
const heapMib = 160
/** A list of ten thousand backups is some MiB. */
const longestLine = 256 * 1024 ** 2
const keptWords = 16_384

/** What the job answers. Rejects with its refusal, or with the signal's reason, and in any case only when the process has gone. */
export async function runJob(
  options: MoverProcessOptions,
  job: Job,
  report: (progress: MoveProgress) => void,
  signal: AbortSignal,
): Promise<unknown> {
  signal.throwIfAborted()
  await failpoint('agent.mover.before-spawn')
  const child = await startMover(options)
  const gone = new Promise<void>((resolve) => child.once('close', () => resolve()))
  const kill = (): void => void child.kill('SIGKILL')
  signal.addEventListener('abort', kill, { once: true })
  const silence = setTimeout(kill, options.silenceMs)
  const words = wordsOf(child)
  let last: Said | null = null
  const cut = cutIntoLines(longestLine, (line) => {
    silence.refresh()
    const { data } = said.safeParse(JSON.parse(line))
    if (data !== undefined && 'progress' in data) report(data.progress)
    else last = data ?? null
  })
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    try {
      cut(chunk)
    } catch {
      kill()
    }
  })
  child.stdin?.on('error', () => undefined) // it has ended, which is seen below
  child.stdin?.write(`${JSON.stringify(job)}\n`)
  try {
    await failpoint('agent.mover.after-spawn')
    await gone
  } finally {
    kill()
    await gone
    clearTimeout(silence)
    signal.removeEventListener('abort', kill)
  }
  signal.throwIfAborted()
  await failpoint('agent.mover.before-answer')
  return resultOf(last, () => {
    options.log.error({ call: job.call, code: child.exitCode, killedBy: child.signalCode, said: words() }, 'a mover failed')
  })
}

function resultOf(last: Said | null, complain: () => void): unknown {
  if (last !== null && 'refused' in last) {
    const { code, kind, message, facts } = last.refused
    throw new Refusal(code, kind, message, facts)
  }
  if (last !== null && !('failed' in last) && !('progress' in last)) return last.done
  complain()
  throw refuse.hostFailure({ what: 'the process that moves the data ended before it was done; the log of its host says why' })
}

async function startMover({ program, worksFor: directory }: MoverProcessOptions): Promise<ChildProcess> {
  const node = [process.execPath, `--max-old-space-size=${heapMib}`, program]
  // No core either: it would hold the key.
  const args = ['--pdeathsig=KILL', '--no-new-privs', '--', 'prlimit', '--core=0', '--', ...node]
  const child = spawn('setpriv', args, {
    detached: true,
    cwd: '/',
    env: { ...inherited(), ...(await worksFor(directory)), UV_THREADPOOL_SIZE: String(Math.max(4, availableParallelism())) },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  child.on('error', () => undefined) // one that could not be started closes without a word
  return child
}

/** Buffers go from thread to thread: with an arena for each of them glibc keeps some 30 MiB more. */
const memory = { MALLOC_ARENA_MAX: '2' }

/** Nothing that the agent was given for itself. */
function inherited(): Record<string, string> {
  const { PATH = '/usr/bin:/bin', NODE_COMPILE_CACHE: compiled, ...others } = process.env
  const failpoints = ['COMEBACK_FAILPOINTS', 'COMEBACK_FAILPOINTS_DIR'].flatMap((name) => {
    const value = others[name]
    return value === undefined ? [] : [[name, value]]
  })
  return { PATH, ...memory, ...(compiled ? { NODE_COMPILE_CACHE: resolve(compiled) } : {}), ...Object.fromEntries(failpoints) }
}

function wordsOf({ stderr }: ChildProcess): () => string {
  let text = ''
  stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    text = (text + chunk).slice(-keptWords)
  })
  return () => text.trim()
}
