/**
 * An operation is one durable run of a saga.
 *
 *   pending -> running -> done
 *                 |----> undoing -> undone
 *                            |----> stuck -> undoing   (retried)
 *                                     |----> quarantined   (an administrator forced it to end)
 *
 * It is never forgotten: `stuck` keeps its locks and is retried and shown.
 */
import type { InstanceId, OperationId, ProjectId, RequestId, UserId } from './ids.ts'

const titles: Readonly<Record<string, string>> = {
  'replace-heads': 'rollback',
  'take-points': 'snapshot',
  'write-backup': 'backup',
}

/** The kind of an operation as people call it: `rollback`, `snapshot`, `extend volume`. */
export const titleOf = (kind: string): string => titles[kind] ?? kind.replaceAll('-', ' ')

export const operationStates = ['pending', 'running', 'undoing', 'stuck', 'done', 'undone', 'quarantined'] as const
export type OperationState = (typeof operationStates)[number]

/** States in which an operation has ended and holds no locks. */
export const endedStates = ['done', 'undone', 'quarantined'] as const satisfies readonly OperationState[]

export const hasEnded = (state: OperationState): boolean => (endedStates as readonly OperationState[]).includes(state)

/** What is locked: `instance:<id>`, `volume:<id>`, `snapshot:<id>`, `image:<id>`, `layer:<id>`, `backup:<id>`,
 * `archive:<volume>` (what vaults hold of a volume), `vault:<id>`, `pool:<id>`. */
export type Resource =
  `${'instance' | 'volume' | 'snapshot' | 'image' | 'layer' | 'backup' | 'archive' | 'vault' | 'host' | 'pool'}:${string}`

/** `shared`: others may share it (a snapshot being read); `exclusive`: nobody else may hold it. */
export type LockMode = 'shared' | 'exclusive'
export type Lock = { readonly resource: Resource; readonly mode: LockMode }

/** Who asked, through which request. Ends up in events and the audit log. */
export type Origin = {
  readonly requestId: RequestId
  readonly userId: UserId | null
  readonly projectId: ProjectId | null
  readonly idempotencyKey?: string
}

/** A problem as it is shown to a client: its code is stable, its message holds no secret. */
export type Problem = { readonly code: string; readonly message: string }

export type Operation = {
  readonly id: OperationId
  readonly kind: string
  readonly state: OperationState
  readonly params: unknown
  readonly instance: InstanceId | null
  /** It begins when that one has ended. */
  readonly waitsFor: OperationId | null
  readonly origin: Origin
  readonly createdAt: Date
  readonly startedAt: Date | null
  readonly endedAt: Date | null
  /** Why it was undone, or what keeps it stuck. */
  readonly problem: Problem | null
  /** What it achieved, said by the saga's last step; null until done. */
  readonly result: unknown
  /** Warnings of a done operation, such as a machine that did not start again. */
  readonly warnings: readonly Problem[]
}

/** One line of an operation's append-only history; `seq` grows over all operations and is the event id of the stream. */
export type OperationEvent = {
  readonly seq: number
  readonly operation: OperationId
  readonly at: Date
  readonly type: 'created' | 'claimed' | 'step' | 'progress' | 'warning' | 'ended'
  readonly data: Readonly<Record<string, unknown>>
}
