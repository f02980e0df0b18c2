import { sql } from 'kysely'
import type { OperationId } from '../../domain/ids.ts'
import type { OperationEvent } from '../../domain/operation.ts'
import type { Tx } from '../../ports/tables.ts'
import { jsonb } from './json.ts'
import { channels } from './listen.ts'

const eventOrder = 0x6576 // 'ev'

/**
 * Appends to the history of operations and wakes who watches it. Writers take turns until they commit, so that `seq` also
 * is the order in which events become visible: a reader who has seen number n never misses a smaller one. Call it last.
 */
export async function appendEvent(
  tx: Tx,
  operation: OperationId,
  type: OperationEvent['type'],
  data: Readonly<Record<string, unknown>>,
): Promise<void> {
  await sql`
    with turn as materialized (
      select pg_advisory_xact_lock(${eventOrder}::bigint), pg_notify(${channels.events}, ${operation}))
    insert into operation_events (operation_id, type, data)
    select ${operation}::uuid, ${type}, ${jsonb(data)}::jsonb from turn`.execute(tx)
}
