import { createHash } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { sql } from 'kysely'
import { newId, type OperationId } from '../../domain/ids.ts'
import { refuse } from '../../domain/refusals.ts'
import type { BeginRequest } from '../../ports/operations.ts'
import type { Db, Tx } from '../../ports/tables.ts'
import { appendEvent } from './append-event.ts'
import { isUnavailable } from './failures.ts'
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

/**
 * Starts an operation. Its id is chosen before the first try, so that a try whose outcome is unknown (the connection broke on
 * commit) is recognized by the next.
 */
export async function begin<Params extends object>(
  db: Db,
  version: number,
  request: BeginRequest<Params>,
  givingWay: GivingWay,
): Promise<Begun> {
  const id = newId<OperationId>()
  const patience = AbortSignal.timeout(givingWay.ms)
  for (let unavailable = 0; ; ) {
    try {
      return await transact(db, (tx) => beginIn(tx, id, version, request))
    } catch (error) {
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
  version: number,
  { kind, origin, digestOf, preemptible = false, plan }: BeginRequest<Params>,
): Promise<Begun> {
  const digest = digestOfRequest({ kind, digestOf })
  const { numInsertedOrUpdatedRows } = await tx
    .insertInto('operations')
    .values({
      id,
      kind,
      version,
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
  if (numInsertedOrUpdatedRows === 0n) return await earlier(tx, id, digest, origin)

  const { params, instance, volumeOperation } = await plan(tx, takeLocksFor(tx, id), id)
  await tx
    .updateTable('operations')
    .set({
      params: jsonb(params),
      instance_id: instance,
      volume_id: volumeOperation?.volume ?? null,
      volume_operation: volumeOperation?.name ?? null,
    })
    .where('id', '=', id)
    .execute()
  await sql`select pg_notify(${channels.work}, ${id})`.execute(tx)
  await appendEvent(tx, id, { type: 'created', data: { kind, instance } })
  return { id, repeated: false }
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
