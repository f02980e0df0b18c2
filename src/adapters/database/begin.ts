import { createHash } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { sql } from 'kysely'
import { newId, type OperationId, type VolumeId } from '../../domain/ids.ts'
import { type Refusal, refuse } from '../../domain/refusals.ts'
import type { BeginRequest, StartAlso } from '../../ports/operations.ts'
import type { Db, Tx } from '../../ports/tables.ts'
import { appendEvent } from './append-event.ts'
import { isUnavailable, isUniqueViolation } from './failures.ts'
import { jsonb } from './json.ts'
import { channels } from './listen.ts'
import { GiveWay, takeLocksFor } from './take-locks.ts'
import { transact } from './transact.ts'

export type Begun = { readonly id: OperationId; readonly repeated: boolean }

/** How background work is asked to give way, and for how long a request waits for that. */
export type GivingWay = {
  readonly askAndWait: (holders: readonly OperationId[], patience: AbortSignal) => Promise<void>
  readonly ms: number
}

const attemptsWithoutDatabase = 4

/** The version of a saga that operations are started at. */
export type VersionOf = (kind: string) => number

/**
 * Starts an operation, and what its plan starts with it. Its id is chosen before the first try, so that a try whose outcome is
 * unknown (the connection broke on commit) is recognized by the next.
 */
export async function begin<Params extends object>(
  db: Db,
  versionOf: VersionOf,
  request: BeginRequest<Params>,
  givingWay: GivingWay,
): Promise<Begun> {
  const id = newId<OperationId>()
  const patience = AbortSignal.timeout(givingWay.ms)
  for (let unavailable = 0; ; ) {
    try {
      return await transact(db, (tx) => beginIn(tx, id, versionOf, request))
    } catch (error) {
      if (error instanceof VolumeTaken) throw await volumeBusy(db, error.volume)
      if (error instanceof GiveWay) {
        await givingWay.askAndWait(error.holders, patience)
        if (patience.aborted) throw error.refusal
      } else if (isUnavailable(error) && ++unavailable < attemptsWithoutDatabase) {
        await wait(100 * unavailable)
      } else {
        throw error
      }
    }
  }
}

async function beginIn<Params extends object>(
  tx: Tx,
  id: OperationId,
  versionOf: VersionOf,
  request: BeginRequest<Params>,
): Promise<Begun> {
  const digest = digestOfRequest(request)
  if (!(await insert(tx, id, versionOf, request, digest))) return await earlier(tx, id, digest, request.origin)
  const created: Created[] = []
  await planned(tx, id, versionOf, request, created)
  for (const { operation, kind, instance } of created) {
    await sql`select pg_notify(${channels.work}, ${operation})`.execute(tx)
    await appendEvent(tx, operation, { type: 'created', data: { kind, instance } })
  }
  return { id, repeated: false }
}

type Created = { readonly operation: OperationId; readonly kind: string; readonly instance: string | null }

/** False: it is there already, or another one of the same request is. */
async function insert(
  tx: Tx,
  id: OperationId,
  versionOf: VersionOf,
  { kind, origin, preemptible = false }: Pick<BeginRequest<object>, 'kind' | 'origin' | 'preemptible'>,
  digest: Buffer | null,
): Promise<boolean> {
  const { numInsertedOrUpdatedRows } = await tx
    .insertInto('operations')
    .values({
      id,
      kind,
      version: versionOf(kind),
      state: 'pending',
      params: '{}',
      preemptible,
      project_id: origin.projectId,
      user_id: origin.userId,
      request_id: origin.requestId,
      idempotency_key: origin.idempotencyKey ?? null,
      request_digest: digest,
    })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst()
  return numInsertedOrUpdatedRows !== 0n
}

/** Runs the plan of an operation that has its row. Events come last of all, once everything that waits for locks is over. */
async function planned<Params extends object>(
  tx: Tx,
  id: OperationId,
  versionOf: VersionOf,
  { kind, origin, plan }: Pick<BeginRequest<Params>, 'kind' | 'origin' | 'plan'>,
  created: Created[],
): Promise<void> {
  const { idempotencyKey: _, ...sameOrigin } = origin
  const also: StartAlso = async (other) => {
    const also = newId<OperationId>()
    await insert(tx, also, versionOf, { kind: other.kind, origin: sameOrigin }, null)
    await planned(tx, also, versionOf, { ...other, origin: sameOrigin }, created)
    return also
  }
  const { params, instance, volumeOperation, waitsFor } = await plan(tx, takeLocksFor(tx, id), id, also)
  await tx
    .updateTable('operations')
    .set({
      params: jsonb(params),
      instance_id: instance,
      volume_id: volumeOperation?.volume ?? null,
      volume_operation: volumeOperation?.name ?? null,
      waits_for: waitsFor ?? null,
    })
    .where('id', '=', id)
    .execute()
    .catch((error: unknown) => {
      throw volumeOperation && isUniqueViolation(error, oneAVolume) ? new VolumeTaken(volumeOperation.volume) : error
    })
  created.push({ operation: id, kind, instance })
}

const oneAVolume = 'operations_one_a_volume'

/** Another operation for the volume alone was started at the same time, where none of the two locks it. */
class VolumeTaken extends Error {
  override readonly name = 'VolumeTaken'
  readonly volume: VolumeId
  constructor(volume: VolumeId) {
    super(`volume ${volume} has an operation already`)
    this.volume = volume
  }
}

async function volumeBusy(db: Db, volume: VolumeId): Promise<Refusal> {
  const other = await db
    .selectFrom('operations')
    .select('volume_operation')
    .where('volume_id', '=', volume)
    .orderBy('created_at', 'desc')
    .executeTakeFirst()
  return refuse.volumeBusy({ operation: other?.volume_operation ?? 'backup' })
}

type Request = Pick<BeginRequest<object>, 'kind' | 'digestOf' | 'origin'>

const digestOfRequest = ({ kind, digestOf }: Omit<Request, 'origin'>): Buffer | null =>
  digestOf === undefined
    ? null
    : createHash('sha256')
        .update(canonical([kind, digestOf]))
        .digest()

/** What the same request has started before, told by its Idempotency-Key. */
export async function startedBefore(db: Db, request: Request): Promise<OperationId | null> {
  const { idempotencyKey, projectId, userId } = request.origin
  if (idempotencyKey === undefined) return null
  const found = await db
    .selectFrom('operations')
    .select(['id', 'request_digest'])
    .where('project_id', 'is not distinct from', projectId)
    .where('user_id', 'is not distinct from', userId)
    .where('idempotency_key', '=', idempotencyKey)
    .executeTakeFirst()
  if (!found) return null
  if (!(found.request_digest ?? empty).equals(digestOfRequest(request) ?? empty)) throw refuse.idempotencyMismatch()
  return found.id
}

/** The operation that this request, or the same one before it, has started. */
async function earlier(
  tx: Tx,
  id: OperationId,
  digest: Buffer | null,
  { projectId, userId, idempotencyKey }: BeginRequest<object>['origin'],
): Promise<Begun> {
  const rows = await tx
    .selectFrom('operations')
    .select(['id', 'request_digest'])
    .where((row) =>
      row.or([
        row('id', '=', id),
        row.and([
          row('project_id', 'is not distinct from', projectId),
          row('user_id', 'is not distinct from', userId),
          row('idempotency_key', '=', idempotencyKey ?? null),
        ]),
      ]),
    )
    .execute()
  const [found] = rows
  if (!found) throw new Error(`operation ${id} conflicts with one that cannot be found`)
  if (found.id === id) return { id, repeated: false }
  if (!(found.request_digest ?? empty).equals(digest ?? empty)) throw refuse.idempotencyMismatch()
  return { id: found.id, repeated: true }
}

const empty = Buffer.alloc(0)

/** JSON whose keys are in order, so that equal requests have equal texts. */
const canonical = (value: unknown): string =>
  JSON.stringify(value, (_key, inner: unknown) =>
    inner !== null && typeof inner === 'object' && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  )
