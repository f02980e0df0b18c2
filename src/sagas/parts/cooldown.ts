import { sql } from 'kysely'
import type { OperationId } from '../../domain/ids.ts'
import type { Tx } from '../../ports/tables.ts'

/** What a user asked for one volume alone has come true: the pause of the volume's plan begins. */
export async function startCooldown(tx: Tx, operation: OperationId): Promise<void> {
  await sql`
    update volumes v set cooldown_until = clock_timestamp() + p.cooldown_seconds * interval '1 second'
    from operations o, plans p where o.id = ${operation} and v.id = o.volume_id and p.id = v.plan_id`.execute(tx)
}
