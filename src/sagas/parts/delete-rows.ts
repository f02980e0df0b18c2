/**
 * Deleting is taking names away. What no name, head or child needs any more is found and removed by the collector
 * (app/watchers/collector.ts, saga remove-layers), whoever owned it.
 */
import type { LayerId, SnapshotId, VolumeId } from '../../domain/ids.ts'
import type { Db, Tx } from '../../ports/tables.ts'

/** Snapshots that keep a volume: all but its safety snapshots and the points of its backups, which go with it. */
export async function namedSnapshots(db: Db | Tx, volume: VolumeId) {
  return await db
    .selectFrom('volume_snapshots')
    .select(['id', 'name', 'kind'])
    .where('volume_id', '=', volume)
    .where('deleted_at', 'is', null)
    .where('kind', 'not in', ['safety', 'backup'])
    .where('state', '<>', 'error')
    .execute()
}

export async function deleteSnapshotRow(tx: Tx, snapshot: SnapshotId): Promise<void> {
  const now = new Date()
  await tx
    .updateTable('volume_snapshots')
    .set({ point_id: null, state: 'deleting', deleted_at: now, updated_at: now })
    .where('id', '=', snapshot)
    .execute()
}

/** Takes the volume's name away, and those of all snapshots it still has. A backup that is being written keeps its point until then. */
export async function deleteVolumeRows(tx: Tx, volume: VolumeId): Promise<void> {
  const now = new Date()
  const being = tx
    .selectFrom('backups')
    .select('snapshot_id')
    .where('state', '=', 'creating')
    .where('snapshot_id', 'is not', null)
  const gone = await tx
    .updateTable('volume_snapshots')
    .set({ point_id: null, state: 'deleting', deleted_at: now, updated_at: now })
    .where('volume_id', '=', volume)
    .where('deleted_at', 'is', null)
    .where('id', 'not in', being.where('volume_id', '=', volume))
    .returning('id')
    .execute()
  const points = gone.map(({ id }) => id)
  if (points.length > 0) await tx.updateTable('backups').set({ snapshot_id: null }).where('snapshot_id', 'in', points).execute()
  await tx
    .updateTable('volumes')
    .set({ state: 'deleting', head_layer_id: null, deleted_at: now, updated_at: now })
    .where('id', '=', volume)
    .execute()
}

/** Layers in which the points of these snapshots lie: their records on the storage are to be written anew. */
export async function layersOfSnapshots(
  db: Db | Tx,
  snapshots: readonly SnapshotId[],
): Promise<{ layer: LayerId; volume: VolumeId }[]> {
  if (snapshots.length === 0) return []
  return await db
    .selectFrom('volume_snapshots as s')
    .innerJoin('points as p', 'p.id', 's.point_id')
    .select(['p.layer_id as layer', 's.volume_id as volume'])
    .where('s.id', 'in', snapshots)
    .execute()
}
