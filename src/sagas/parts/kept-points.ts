/**
 * Points that backups are made of. Each is named by a hidden snapshot of kind `backup`, which says whose it is also on the
 * storage. The latest backup of a volume in a vault keeps its point, so that the next one need read only what changed since.
 */
import type { BackupId, LayerId, PoolId, SnapshotId, VaultId, VolumeId } from '../../domain/ids.ts'
import type { Db, Tx } from '../../ports/tables.ts'
import type { SourcePoint } from '../../ports/vault-mover.ts'
import type { World } from '../../ports/world.ts'
import { deleteSnapshotRow, layersOfSnapshots } from './delete-rows.ts'
import { chainOf } from './machine.ts'

/** The metadata of a hidden snapshot: which backup is made of its point. */
export const madeInto = (backup: BackupId) => ({ backup })

export type KeptPoint = { readonly source: SourcePoint; readonly snapshot: SnapshotId }

/** The point that a snapshot names, with all layers that it is read through; null: it has none. */
export async function sourceOf(db: Db | Tx, snapshot: SnapshotId): Promise<SourcePoint | null> {
  const row = await db
    .selectFrom('volume_snapshots as s')
    .innerJoin('points as p', 'p.id', 's.point_id')
    .innerJoin('layers as l', 'l.id', 'p.layer_id')
    .select(['p.id as point', 'p.layer_id as layer', 'p.size_bytes as sizeBytes', 'l.pool_id as pool'])
    .where('s.id', '=', snapshot)
    .where('s.deleted_at', 'is', null)
    .executeTakeFirst()
  if (!row) return null
  const { pool, point, layer, sizeBytes } = row
  return { pool, point: { layer, point }, chain: await chainOf(db, layer), sizeBytes }
}

/**
 * The point of a former backup, if it is proved to be that: rows may be those of an older copy of the database, so the storage
 * must say it too. Else why not.
 */
export async function provedPoint(
  world: Pick<World, 'db' | 'storage'>,
  { backup, snapshot, pool }: { backup: BackupId; snapshot: SnapshotId | null; pool: PoolId },
): Promise<{ point: SourcePoint } | { whyNot: string }> {
  const row = snapshot ? await hiddenSnapshot(world.db, snapshot) : undefined
  if (row?.state !== 'available' || row.metadata['backup'] !== backup)
    return { whyNot: 'The point of the previous backup is not kept any more.' }
  const point = await sourceOf(world.db, row.id)
  if (!point) return { whyNot: 'The point of the previous backup is not kept any more.' }
  if (point.pool !== pool) return { whyNot: 'The point of the previous backup lies in another pool.' }
  const record = await world.storage(pool).readRecord(point.point.layer)
  const names = record?.points.find((one) => one.point === point.point.point)?.snapshots ?? []
  const isSaid = names.some(({ id, kind, metadata }) => id === row.id && kind === 'backup' && metadata['backup'] === backup)
  if (!isSaid) return { whyNot: 'The storage does not say that the kept point is the one of the previous backup.' }
  return { point }
}

const hiddenSnapshot = (db: Db | Tx, id: SnapshotId) =>
  db
    .selectFrom('volume_snapshots')
    .select(['id', 'state', 'metadata'])
    .where('id', '=', id)
    .where('kind', '=', 'backup')
    .where('deleted_at', 'is', null)
    .executeTakeFirst()

/** A layer whose record on the storage is to be written anew, and the volume that wrote it. */
export type ToDescribe = { readonly layer: LayerId; readonly volume: VolumeId }

/** Lets a backup's point go: what nothing else needs of it is collected. */
export async function releasePoints(tx: Tx, backups: readonly BackupId[]): Promise<ToDescribe[]> {
  if (backups.length === 0) return []
  const hidden = await tx
    .selectFrom('backups as b')
    .innerJoin('volume_snapshots as s', 's.id', 'b.snapshot_id')
    .select(['s.id', 's.state'])
    .where('b.id', 'in', backups)
    .execute()
  // One that failed, or that a recovery has not found, has no layer that could be described.
  const layers = await layersOfSnapshots(
    tx,
    hidden.filter(({ state }) => state === 'available').map(({ id }) => id),
  )
  for (const { id } of hidden) await deleteSnapshotRow(tx, id)
  await tx.updateTable('backups').set({ snapshot_id: null }).where('id', 'in', backups).execute()
  return layers
}

/** Of all the volume's backups in the vault only this one keeps its point; of a volume that is gone none does. */
export async function keepOnly(
  tx: Tx,
  { backup, volume, vault }: { backup: BackupId; volume: VolumeId; vault: VaultId },
): Promise<ToDescribe[]> {
  const alive = await tx
    .selectFrom('volumes')
    .select('id')
    .where('id', '=', volume)
    .where('deleted_at', 'is', null)
    .executeTakeFirst()
  const others = await tx
    .selectFrom('backups')
    .select('id')
    .where('volume_id', '=', volume)
    .where('vault_id', '=', vault)
    .where('state', '=', 'available')
    .where('snapshot_id', 'is not', null)
    .where('id', '<>', backup)
    .execute()
  return await releasePoints(tx, [...others.map(({ id }) => id), ...(alive ? [] : [backup])])
}
