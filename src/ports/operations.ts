/** Starting, watching and ending durable operations. */
import type { InstanceId, OperationId, ProjectId, VolumeId } from '../domain/ids.ts'
import type { Lock, Operation, OperationEvent, OperationState, Origin } from '../domain/operation.ts'
import type { VolumeOperation } from '../domain/volume.ts'
import type { Tx } from './tables.ts'

/**
 * Takes locks for the operation being started, in the transaction that starts it. Call it first for the instance, then for
 * volumes, snapshots, images and layers, and read rows only after their lock is taken. Refused (`instanceBusy`, `volumeBusy`,
 * `resourceBusy`) while another operation holds one; a preemptible holder is asked to give way first.
 */
export type TakeLocks = (locks: readonly Lock[]) => Promise<void>

export type Plan<Params> = {
  readonly params: Params
  readonly instance: InstanceId | null
  /** What a user asked for one volume alone: counted, shown as what the volume is busy with, and followed by its cooldown. */
  readonly volumeOperation?: { readonly volume: VolumeId; readonly name: VolumeOperation }
  /** Begins when that one has ended, however it ended. */
  readonly waitsFor?: OperationId
}

/**
 * Starts another operation in the same transaction, by the same origin: both are there afterwards, or neither. It has no
 * Idempotency-Key of its own; a repeated request finds it through the first one.
 */
export type StartAlso = <Params extends object>(request: Pick<BeginRequest<Params>, 'kind' | 'plan'>) => Promise<OperationId>

export type BeginRequest<Params> = {
  /** Name of a registered saga. */
  readonly kind: string
  readonly origin: Origin
  /** The request as the client sent it: the same Idempotency-Key with another digest is refused. */
  readonly digestOf?: unknown
  readonly preemptible?: boolean
  /** Checks everything again under the locks and writes the rows that the request creates. May run more than once. */
  readonly plan: (tx: Tx, take: TakeLocks, id: OperationId, also: StartAlso) => Promise<Plan<Params>>
}

export interface Operations {
  /** Writes the operation, its locks and its first event in one transaction; what it answered survives a power cut. */
  begin<Params extends object>(request: BeginRequest<Params>): Promise<{ id: OperationId; repeated: boolean }>
  /** What the same request has started before, told by its Idempotency-Key: asked first where what it is about may be gone since. */
  startedBefore(request: Pick<BeginRequest<object>, 'kind' | 'origin' | 'digestOf'>): Promise<OperationId | null>
  /** Resolves when the operation has ended; rejects when aborted. The operation goes on either way. */
  ended(id: OperationId, signal?: AbortSignal): Promise<Operation>
  show(id: OperationId): Promise<Operation | null>
  list(filter: OperationFilter): Promise<readonly Operation[]>
  /** Events with seq > after, then new ones as they happen, until aborted. */
  events(
    filter: { operation?: OperationId; project?: ProjectId; after: number },
    signal: AbortSignal,
  ): AsyncIterable<OperationEvent>
  /** Asks a running operation to stop and go back, if it can still go back. */
  cancel(id: OperationId): Promise<void>
  /** Cancels it under a new epoch: whoever hangs over it is shut out, and another worker takes it back. */
  cancelUnderNewEpoch(id: OperationId): Promise<void>
  /** An administrator ends a stuck operation: its layers are quarantined (none deleted), its locks are freed. */
  forceEnd(id: OperationId, origin: Origin): Promise<Operation>
  /** The exclusive holder of a resource, if any: what a face shows as task_state. */
  holders(resources: readonly string[]): Promise<ReadonlyMap<string, { id: OperationId; kind: string }>>
}

export type OperationFilter = {
  readonly project?: ProjectId
  readonly instance?: InstanceId
  readonly states?: readonly OperationState[]
  readonly kind?: string
  readonly limit: number
  readonly before?: OperationId
}
