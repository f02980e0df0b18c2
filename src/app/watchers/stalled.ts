/**
 * What a user asked for one volume must not keep it busy for ever. Without an event for so long, its snapshot is shown as failed
 * and the operation is cancelled under a new epoch, so that a worker that hangs over it can do nothing more. The volume is free
 * when what was done has been taken back; past the point of no return it goes on, and says so.
 */
import { sql } from 'kysely'
import type { OperationId } from '../../domain/ids.ts'
import type { Log } from '../../ports/log.ts'
import type { Operations } from '../../ports/operations.ts'
import type { Db } from '../../ports/tables.ts'
import type { Watcher } from './loop.ts'

export type StalledNeeds = {
  readonly db: Db
  readonly operations: Pick<Operations, 'cancelUnderNewEpoch'>
  readonly log: Log
  readonly afterSeconds: number
}

export const stalledWatcher = (needs: StalledNeeds, everyMs: number): Watcher => ({
  name: 'stalled',
  everyMs,
  look: async () => {
    for (const { id, volume_id, kind } of await stalled(needs)) {
      needs.log.warn({ operation: id, kind, volume: volume_id, afterSeconds: needs.afterSeconds }, 'no progress: cancelled')
      await showAsFailed(needs.db, id)
      await needs.operations.cancelUnderNewEpoch(id)
    }
  },
})

const stalled = ({ db, afterSeconds }: StalledNeeds) =>
  db
    .selectFrom('operations as o')
    .select(['o.id', 'o.volume_id', 'o.kind'])
    .where('o.volume_id', 'is not', null)
    .where('o.state', 'in', ['pending', 'running'])
    .where('o.cancel_requested', '=', false)
    .where(
      sql<boolean>`coalesce((select max(at) from operation_events e where e.operation_id = o.id), o.created_at)
        < clock_timestamp() - make_interval(secs => ${afterSeconds})`,
    )
    .execute()

async function showAsFailed(db: Db, operation: OperationId): Promise<void> {
  await db
    .updateTable('volume_snapshots')
    .set({ state: 'error', updated_at: new Date() })
    .where('operation_id', '=', operation)
    .where('state', '=', 'creating')
    .execute()
}
