/**
 * What a user asked for one volume must not keep it busy for ever. Without an event for so long, its snapshot or backup is shown as
 * failed and the operation is cancelled under a new epoch, so that a worker that hangs over it can do nothing more. The volume is free
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
    for (const { id, volume_id, kind, moment } of await stalled(needs)) {
      needs.log.warn({ operation: id, kind, volume: volume_id, afterSeconds: needs.afterSeconds }, 'no progress: cancelled')
      await showAsFailed(needs, id)
      if (moment) await needs.operations.cancelUnderNewEpoch(moment)
      await needs.operations.cancelUnderNewEpoch(id)
    }
  },
})

/** What one waits for is its own progress, and hangs with it. `moment`: that other operation, where nobody has cancelled it yet. */
const stalled = ({ db, afterSeconds }: StalledNeeds) =>
  db
    .selectFrom('operations as o')
    .leftJoin('operations as w', (join) => join.onRef('w.id', '=', 'o.waits_for').on('w.ended_at', 'is', null))
    .select(['o.id', 'o.volume_id', 'o.kind'])
    .select(sql<OperationId | null>`case when w.cancel_requested then null else w.id end`.as('moment'))
    .where('o.volume_id', 'is not', null)
    .where('o.state', 'in', ['pending', 'running'])
    .where('o.cancel_requested', '=', false)
    .where(
      sql<boolean>`coalesce((select max(at) from operation_events e where e.operation_id in (o.id, w.id)), o.created_at)
        < clock_timestamp() - make_interval(secs => ${afterSeconds})`,
    )
    .execute()

async function showAsFailed({ db, afterSeconds }: StalledNeeds, operation: OperationId): Promise<void> {
  await db
    .updateTable('volume_snapshots')
    .set({ state: 'error', updated_at: new Date() })
    .where('operation_id', '=', operation)
    .where('state', '=', 'creating')
    .execute()
  await db
    .updateTable('backups')
    .set({
      state: 'error',
      fail_reason: `It made no progress for ${Math.round(afterSeconds / 60)} minutes and was cancelled.`,
      updated_at: new Date(),
    })
    .where('operation_id', '=', operation)
    .where('state', '=', 'creating')
    .execute()
}
