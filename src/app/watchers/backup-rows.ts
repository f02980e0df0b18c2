/**
 * Sets right what no operation will: backups whose operation was ended by force, or is not there any more because an older copy
 * of the database was restored, are shown as failed, for their owners to delete. Kept points that no backup has claimed, as they
 * come back from a pool, are let go after a day: until then a recovery from the vault may name their backups.
 */
import { sql } from 'kysely'
import type { SnapshotId } from '../../domain/ids.ts'
import { Refusal } from '../../domain/refusals.ts'
import type { Operations } from '../../ports/operations.ts'
import type { Db } from '../../ports/tables.ts'
import type { DeleteSnapshotsParams } from '../../sagas/delete-names.ts'
import { layersOfSnapshots } from '../../sagas/parts/delete-rows.ts'
import { exclusive } from '../locks.ts'
import type { Watcher } from './loop.ts'
import { systemOrigin } from './machines.ts'

export type BackupRowsNeeds = { readonly db: Db; readonly operations: Pick<Operations, 'begin'> }

export const backupRowsWatcher = (needs: BackupRowsNeeds, everyMs: number): Watcher => ({
  name: 'backup-rows',
  everyMs,
  look: async () => {
    await failInterrupted(needs.db)
    await releaseUnclaimed(needs)
  },
})

/** Whoever makes or deletes a backup holds its lock, and sets its row in the transaction in which that goes. */
async function failInterrupted(db: Db): Promise<void> {
  const reason = sql<string>`coalesce(
    (select problem->>'message' from operations o where o.id = backups.operation_id and o.state = 'quarantined'),
    'Its operation was interrupted for good.')`
  await db
    .updateTable('backups')
    .set({ state: 'error', fail_reason: sql<string>`coalesce(fail_reason, ${reason})`, updated_at: new Date() })
    .where('state', 'in', ['creating', 'deleting'])
    .where(sql<boolean>`not exists (select from locks where resource = 'backup:' || backups.id and mode = 'exclusive')`)
    .execute()
}

const unclaimedForHours = 24

async function releaseUnclaimed({ db, operations }: BackupRowsNeeds): Promise<void> {
  const unclaimed = await db
    .selectFrom('volume_snapshots as s')
    .select('s.id')
    .where('s.kind', '=', 'backup')
    .where('s.deleted_at', 'is', null)
    .where('s.updated_at', '<', sql<Date>`clock_timestamp() - make_interval(hours => ${unclaimedForHours})`)
    .where(({ not, exists, selectFrom }) =>
      not(exists(selectFrom('backups as b').select('b.id').whereRef('b.snapshot_id', '=', 's.id'))),
    )
    .execute()
  for (const { id } of unclaimed) await release(operations, id)
}

async function release(operations: BackupRowsNeeds['operations'], id: SnapshotId): Promise<void> {
  await operations
    .begin<DeleteSnapshotsParams>({
      kind: 'delete-snapshots',
      origin: systemOrigin(),
      plan: async (tx, take) => {
        await take(exclusive('snapshot', id))
        const claimed = await tx.selectFrom('backups').select('id').where('snapshot_id', '=', id).executeTakeFirst()
        if (claimed) throw new Refusal('nothingToDo', 'conflict', 'A backup has claimed it.')
        return { params: { snapshots: [id], layers: await layersOfSnapshots(tx, [id]) }, instance: null }
      },
    })
    .catch((error: unknown) => {
      if (!(error instanceof Refusal)) throw error
    })
}
