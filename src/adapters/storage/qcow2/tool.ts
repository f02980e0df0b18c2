/**
 * Runs one of QEMU's tools: arguments as a list, a deadline, and its whole process group gone when it is over. A tool dies with
 * the agent (`pdeathsig`): what it did is repeated by the next one, which could not while the old tool still holds the locks.
 */
import { type IOType, spawn } from 'node:child_process'
import { type Refusal, refuse } from '../../../domain/refusals.ts'

export type ToolOptions = {
  readonly deadlineMs: number
  readonly signal?: AbortSignal | undefined
  /** Open files that the tool gets as its descriptors 3, 4, … */
  readonly files?: readonly number[]
  readonly cwd?: string
}

export type ToolResult = {
  readonly code: number | null
  readonly killedBy: string | null
  readonly stdout: string
  readonly stderr: string
}

/** What a tool may say at most; more is cut off. A map of a large fragmented image is the longest. */
const mostOutput = 256 * 1024 * 1024

export async function runTool(command: string, args: readonly string[], options: ToolOptions): Promise<ToolResult> {
  options.signal?.throwIfAborted()
  const piped: IOType[] = ['ignore', 'pipe', 'pipe']
  const child = spawn('setpriv', ['--pdeathsig=KILL', '--', command, ...args], {
    detached: true,
    stdio: [...piped, ...(options.files ?? [])],
    cwd: options.cwd,
  })
  const killGroup = (): void => {
    if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
    process.kill(-child.pid, 'SIGKILL')
  }
  const timer = setTimeout(killGroup, options.deadlineMs)
  options.signal?.addEventListener('abort', killGroup)
  try {
    return await new Promise<ToolResult>((resolve, reject) => {
      const output = { stdout: [] as Buffer[], stderr: [] as Buffer[], bytes: 0 }
      for (const name of ['stdout', 'stderr'] as const) {
        child[name]?.on('data', (chunk: Buffer) => {
          output.bytes += chunk.length
          if (output.bytes <= mostOutput) output[name].push(chunk)
        })
      }
      child.on('error', reject)
      child.on('close', (code, killedBy) => {
        const text = (chunks: Buffer[]) => Buffer.concat(chunks).toString('utf8')
        resolve({ code, killedBy, stdout: text(output.stdout), stderr: text(output.stderr) })
      })
    })
  } finally {
    clearTimeout(timer)
    options.signal?.removeEventListener('abort', killGroup)
  }
}

export const saysLocked = (message: string): boolean => /Failed to get (shared )?"[a-z ]+" lock/.test(message)
export const saysFull = (message: string): boolean => /No space left on device|Disk quota exceeded/.test(message)

/** A tool's failure in our words. `clean` takes the machine's paths out of what the tool said. */
export function toolFailure(what: string, result: ToolResult, clean: (text: string) => string, pool: string): Refusal {
  if (saysLocked(result.stderr)) return refuse.diskHeldOpen()
  if (saysFull(result.stderr)) return refuse.poolFull({ pool })
  const said = clean(result.stderr.trim()) || (result.killedBy === null ? `exit code ${result.code}` : 'it took too long')
  return refuse.hostFailure({ what: `${what}: ${said}` })
}
