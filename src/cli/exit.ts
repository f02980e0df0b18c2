/** How a command ends: its exit code, and what is said on stderr. Never a stack trace. */
import { CommanderError } from 'commander'
import { Refused, Unreachable } from '../../contract/client.ts'
import { Refusal } from '../domain/refusals.ts'

export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  unreachable: 3,
  auth: 4,
  stuck: 5,
  interrupted: 130,
} as const
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes]

export const exitCodesHelp = `
Exit codes:
  0    done (preflight: it would go through)
  1    refused, or the operation failed and was taken back
  2    the command line is wrong, or names nothing or several things
  3    the server cannot be reached
  4    not signed in, or not allowed
  5    the operation is stuck and needs an administrator
  130  interrupted; an operation that was started goes on`

/** Ends the command with a message and a code. */
export class Stop extends Error {
  override readonly name = 'Stop'
  readonly exitCode: ExitCode
  readonly code: string

  constructor(exitCode: ExitCode, code: string, message: string) {
    super(message)
    this.exitCode = exitCode
    this.code = code
  }
}

export const usage = (message: string) => new Stop(exitCodes.usage, 'usage', message)
export const failed = (code: string, message: string) => new Stop(exitCodes.failed, code, message)

export type Ending = {
  readonly exitCode: number
  readonly code: string
  readonly message: string | null
  readonly requestId?: string
  /** The particulars that the server gave, for programs. */
  readonly facts?: Readonly<Record<string, unknown>>
}

export function endingOf(error: unknown): Ending {
  if (error instanceof Stop) return { exitCode: error.exitCode, code: error.code, message: error.message }
  // Commander has said it already.
  if (error instanceof CommanderError) {
    return { exitCode: error.exitCode === 0 ? exitCodes.ok : exitCodes.usage, code: 'usage', message: null }
  }
  if (error instanceof Unreachable) return { exitCode: exitCodes.unreachable, code: 'unreachable', message: error.message }
  if (error instanceof Refused) {
    const exitCode = error.status === 401 || error.status === 403 ? exitCodes.auth : exitCodes.failed
    const { code, message, requestId, facts } = error
    return { exitCode, code, message, facts, ...(requestId === null ? {} : { requestId }) }
  }
  if (error instanceof Refusal) return { exitCode: exitCodes.failed, code: error.code, message: error.message }
  if (error instanceof Error && error.name === 'AbortError') {
    return { exitCode: exitCodes.interrupted, code: 'interrupted', message: 'Interrupted.' }
  }
  const message = error instanceof Error ? error.message : String(error)
  return { exitCode: exitCodes.failed, code: 'defect', message: `Unexpected error in comeback: ${message}` }
}
