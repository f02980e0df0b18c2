/**
 * The durable side of one run of a saga. Every write is one transaction that is fenced by the epoch of the claim it was made
 * with: once another worker has claimed the operation, each of them rejects with `LeaseLost` and changes nothing.
 *
 * A rejection of any method, other than by the effect given to it, says that the journal itself could not be written: the
 * run ends there as if the process had died, and whoever claims the operation next takes it up where the journal ends.
 */
import type { InstanceId, OperationId, ProjectId, RequestId, UserId } from '../domain/ids.ts'
import type { OperationState, Problem } from '../domain/operation.ts'
import type { Tx } from './tables.ts'

/** An operation claimed by this worker. A later claim, by anybody, has a higher epoch. */
export type Claim = {
  readonly operation: OperationId
  readonly kind: string
  readonly version: number
  readonly epoch: number
  readonly params: unknown
  readonly state: OperationState
  /** How often it was stuck. */
  readonly attempts: number
  readonly cancelRequested: boolean
  readonly problem: Problem | null
  readonly warnings: readonly Problem[]
  readonly instance: InstanceId | null
  /** What it has locked for itself, an instance or volume before anything else; null when it has no lock. */
  readonly resource: string | null
  readonly requestId: RequestId
  readonly projectId: ProjectId | null
  readonly userId: UserId | null
}

/** `started` before an effect, `done` after it; `failed`, then `undoing` before its undo and `undone` after it. */
export type StepState = 'started' | 'done' | 'failed' | 'undoing' | 'undone'

export type StepEntry = {
  readonly step: string
  readonly state: StepState
  readonly attempt: number
  /** As it was journalled by `done`, also when undone since; null otherwise. */
  readonly output: unknown
  readonly problem: Problem | null
}

export type Committed = { readonly output: unknown; readonly warnings: readonly Problem[] }

export interface Journal {
  read(): Promise<readonly StepEntry[]>
  started(step: string, attempt: number): Promise<void>
  done(step: string, output: unknown, warnings: readonly Problem[]): Promise<void>
  /** Runs the effect and writes its `done` in one transaction. Rejects as the effect does, having changed nothing. */
  commit(step: string, effect: (tx: Tx) => Promise<Committed>): Promise<void>
  /** The step failed, and with it the operation: from now on it goes back. A step that had not started has attempt 0. */
  failed(step: string, problem: Problem): Promise<void>
  /** A step after the point of no return failed for good: its problem becomes a warning of the operation. */
  gaveUp(step: string, problem: Problem): Promise<void>
  undoing(step: string): Promise<void>
  undone(step: string, warnings: readonly Problem[]): Promise<void>
  /** Neither forward nor back for now: keeps the locks, gives up the lease, may be claimed again after so long. */
  stuck(step: string, problem: Problem, againInMs: number): Promise<void>
  /** Ends the operation as done and frees its locks. */
  finished(result: unknown): Promise<void>
  /** Ends the operation as undone and frees its locks, in one transaction with the effect. */
  wentBack(because: Problem, effect: (tx: Tx) => Promise<void>): Promise<void>
  /** An event for those who watch. */
  progress(step: string, data: Readonly<Record<string, unknown>>): Promise<void>
}

export class LeaseLost extends Error {
  override readonly name = 'LeaseLost'
  constructor(operation: OperationId, epoch: number) {
    super(`operation ${operation} is no longer held with epoch ${epoch}`)
  }
}

/** Hands operations to workers: each to one at a time, for as long as its lease is renewed. */
export interface Claims {
  /** Milliseconds that a lease lasts without being renewed. */
  readonly leaseMs: number
  /** Claims up to so many operations that are due, of the kinds and versions known here. */
  claim(known: readonly { name: string; version: number }[], atMost: number): Promise<readonly Claim[]>
  /** Renews a lease; null: it was lost. */
  renew(claim: Claim): Promise<{ cancelRequested: boolean } | null>
  /** Gives a lease up, so that the operation can be claimed at once. */
  release(claim: Claim): Promise<void>
  /** Frees what this same owner held in a former life, so that a restart goes on at once. */
  takeBack(): Promise<void>
  journalOf(claim: Claim): Journal
  /** Calls when there may be something to claim, or to cancel. Some calls may be missed. Answers how to end it. */
  onDue(wake: () => void): () => void
}
