import { type RawBuilder, sql } from 'kysely'
import type { OperationId } from '../../domain/ids.ts'
import type { OperationEvent } from '../../domain/operation.ts'
import type { Tx } from '../../ports/tables.ts'
import { jsonb } from './json.ts'
import { channels } from './listen.ts'

export type NewEvent = Pick<OperationEvent, 'type' | 'data'>

const eventOrder = 0x6576 // 'ev'

/**
 * Appends to the history of the operation that the query `held` names (nothing, if it names none), and wakes who watches it.
 * Writers take turns until they commit, so that `seq` also is the order in which events become visible: a reader who has seen
 * number n never misses a smaller one. So let it be the last thing that a transaction does.
 */
export const appendEvents = (events: readonly NewEvent[]): RawBuilder<unknown> => sql`
  turn as materialized (
    select id, pg_advisory_xact_lock(${eventOrder}::bigint), pg_notify(${channels.events}, id::text) from held),
  told as (
    insert into operation_events (operation_id, type, data)
    select turn.id, event->>'type', event->'data'
    from turn, jsonb_array_elements(${jsonb(events)}::jsonb) with ordinality as new(event, place) order by place)`

export async function appendEvent(tx: Tx, operation: OperationId, event: NewEvent): Promise<void> {
  await sql`with held as (select ${operation}::uuid as id), ${appendEvents([event])} select`.execute(tx)
}
