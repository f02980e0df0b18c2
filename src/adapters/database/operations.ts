import type { Selectable } from 'kysely'
import { sql } from 'kysely'
import type { OperationId, RequestId } from '../../domain/ids.ts'
import type { Operation, Origin } from '../../domain/operation.ts'
import { refuse } from '../../domain/refusals.ts'
import type { OperationFilter, Operations } from '../../ports/operations.ts'
import type { Db, Tables, Tx } from '../../ports/tables.ts'
import { appendEvent } from './append-event.ts'
import { writeAudit } from './audit.ts'
import { begin, startedBefore } from './begin.ts'
import { channels, type Listener } from './listen.ts'
import { transact } from './transact.ts'
import { eventsOf, waitForEnd } from './watch-operations.ts'

export type OperationsOptions = {
  readonly db: Db
  readonly listener: Listener
  /** The registry: operations are started at the present version of their saga. */
  readonly sagas: Readonly<Record<string, { readonly name: string; readonly version: number }>>
  /** How long a request waits for background work that was asked to give way. */
  readonly giveWayMs?: number
}

export function createOperations({ db, listener, sagas, giveWayMs = 10_000 }: OperationsOptions): Operations {
  const show = async (id: OperationId): Promise<Operation | null> => {
    const row = await db.selectFrom('operations').selectAll().where('id', '=', id).executeTakeFirst()
    return row ? toOperation(row) : null
  }
  const ended: Operations['ended'] = (id, signal) => waitForEnd(listener, show, id, signal)
  const cancel: Operations['cancel'] = (id) => requestCancel(db, id)

  const versionOf = (kind: string): number => {
    const saga = Object.values(sagas).find(({ name }) => name === kind)
    if (!saga) throw new Error(`no saga is named ${kind}`)
    return saga.version
  }

  return {
    show,
    ended,
    cancel,
    cancelUnderNewEpoch: (id) => wrest(db, id),
    async begin(request) {
      const askAndWait = async (holders: readonly OperationId[], patience: AbortSignal) => {
        for (const holder of holders) await cancel(holder)
        await Promise.allSettled(holders.map((holder) => ended(holder, patience)))
      }
      return await begin(db, versionOf, request, { askAndWait, ms: giveWayMs })
    },
    startedBefore: (request) => startedBefore(db, request),
    list: async (filter) => (await selectOperations(db, filter)).map(toOperation),
    events: (filter, signal) => eventsOf(db, listener, filter, signal),
    forceEnd: async (id, origin) => {
      await quarantine(db, id, origin)
      return await ended(id)
    },
    async holders(resources) {
      if (resources.length === 0) return new Map()
      const rows = await db
        .selectFrom('locks as l')
        .innerJoin('operations as o', 'o.id', 'l.operation_id')
        .select(['l.resource', 'o.id', 'o.kind'])
        .where('l.resource', 'in', resources)
        .where('l.mode', '=', 'exclusive')
        .execute()
      return new Map(rows.map(({ resource, id, kind }) => [resource, { id, kind }]))
    },
  }
}

async function requestCancel(db: Db, id: OperationId): Promise<void> {
  const { rows } = await sql<{ found: boolean }>`
    with asked as (
      update operations set cancel_requested = true where id = ${id} and state in ('pending', 'running') returning id),
    told as (select pg_notify(${channels.work}, id::text) from asked)
    select exists(select from operations where id = ${id}) as found, (select count(*) from told)`.execute(db)
  if (!rows[0]?.found) throw refuse.notFound({ what: 'Operation', id })
}

async function wrest(db: Db, id: OperationId): Promise<void> {
  await sql`
    with wrested as (
      update operations set cancel_requested = true, epoch = nextval('epochs'), lease_owner = null, lease_until = null,
        run_at = clock_timestamp()
      where id = ${id} and state in ('pending', 'running') returning id)
    select pg_notify(${channels.work}, id::text) from wrested`.execute(db)
}

/**
 * Ends a stuck operation where it stands. A new epoch shuts out whoever may still run it. What it made keeps its names on the
 * storage: the collector removes only what an undone operation made, so everything of this one stays for a human to judge.
 */
async function quarantine(db: Db, id: OperationId, origin: Origin): Promise<void> {
  await transact(db, async (tx) => {
    const row = await tx.selectFrom('operations').select('state').where('id', '=', id).forUpdate().executeTakeFirst()
    if (!row) throw refuse.notFound({ what: 'Operation', id })
    if (row.state !== 'stuck') throw refuse.operationNotStuck({ id, state: row.state })
    await tx
      .updateTable('operations')
      .set({
        state: 'quarantined',
        epoch: sql`nextval('epochs')`,
        ended_at: sql`clock_timestamp()`,
        lease_owner: null,
        lease_until: null,
      })
      .where('id', '=', id)
      .execute()
    await tx.deleteFrom('locks').where('operation_id', '=', id).execute()
    await wakeWaiting(tx, id)
    await writeAudit(tx, { origin, action: 'operations:force-end', target: id, outcome: 'accepted', operation: id })
    await appendEvent(tx, id, { type: 'ended', data: { state: 'quarantined', by: origin.userId } })
  })
}

/** What waits for it may begin. */
const wakeWaiting = (tx: Tx, id: OperationId) =>
  sql`select pg_notify(${channels.work}, id::text) from operations where waits_for = ${id} and ended_at is null`.execute(tx)

function selectOperations(db: Db, { project, instance, states, kind, limit, before }: OperationFilter) {
  return db
    .selectFrom('operations')
    .selectAll()
    .$if(project !== undefined, (query) => query.where('project_id', '=', project!))
    .$if(instance !== undefined, (query) => query.where('instance_id', '=', instance!))
    .$if(states !== undefined, (query) => query.where('state', 'in', [...states!]))
    .$if(kind !== undefined, (query) => query.where('kind', '=', kind!))
    .$if(before !== undefined, (query) =>
      query.where(sql`(created_at, id)`, '<', sql`(select created_at, id from operations where id = ${before})`),
    )
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .limit(limit)
    .execute()
}

const toOperation = (row: Selectable<Tables['operations']>): Operation => ({
  id: row.id,
  kind: row.kind,
  state: row.state,
  params: row.params,
  instance: row.instance_id,
  waitsFor: row.waits_for,
  origin: {
    requestId: row.request_id as RequestId,
    userId: row.user_id,
    projectId: row.project_id,
    ...(row.idempotency_key === null ? {} : { idempotencyKey: row.idempotency_key }),
  },
  createdAt: row.created_at,
  startedAt: row.started_at,
  endedAt: row.ended_at,
  problem: row.problem,
  result: row.result,
  warnings: row.warnings,
})
