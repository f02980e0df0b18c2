/** Project isolation, in one place: what belongs to another project cannot be found; an administrator finds everything. */
import type { BackupId, ImageId, InstanceId, SnapshotId, VolumeId } from '../domain/ids.ts'
import { refuse } from '../domain/refusals.ts'
import type { Db, Tx } from '../ports/tables.ts'
import { type Caller, isAdmin } from './caller.ts'

type Reader = Db | Tx

function mine<Row extends { project_id: string }>(caller: Caller, row: Row | undefined, what: string, id: string): Row {
  if (row && (row.project_id === caller.project || isAdmin(caller))) return row
  throw refuse.notFound({ what, id })
}

export async function ownedInstance(db: Reader, caller: Caller, id: InstanceId) {
  const row = await db
    .selectFrom('instances')
    .selectAll()
    .where('id', '=', id)
    .where('deleted_at', 'is', null)
    .executeTakeFirst()
  return mine(caller, row, 'Instance', id)
}

export async function ownedVolume(db: Reader, caller: Caller, id: VolumeId) {
  const row = await db.selectFrom('volumes').selectAll().where('id', '=', id).where('deleted_at', 'is', null).executeTakeFirst()
  return mine(caller, row, 'Volume', id)
}

export async function ownedSnapshot(db: Reader, caller: Caller, id: SnapshotId) {
  const row = await db
    .selectFrom('volume_snapshots')
    .selectAll()
    .where('id', '=', id)
    // Points of backups are nobody's snapshots.
    .where('kind', '<>', 'backup')
    .where('deleted_at', 'is', null)
    .executeTakeFirst()
  return mine(caller, row, 'Snapshot', id)
}

export async function ownedBackup(db: Reader, caller: Caller, id: BackupId) {
  const row = await db.selectFrom('backups').selectAll().where('id', '=', id).where('deleted_at', 'is', null).executeTakeFirst()
  return mine(caller, row, 'Backup', id)
}

/** An image that may be changed. */
export async function ownedImage(db: Reader, caller: Caller, id: ImageId) {
  const row = await db.selectFrom('images').selectAll().where('id', '=', id).where('deleted_at', 'is', null).executeTakeFirst()
  return mine(caller, row, 'Image', id)
}

/** An image that may be used: one's own, or one that is open to all. */
export async function usableImage(db: Reader, caller: Caller, id: ImageId) {
  const row = await db.selectFrom('images').selectAll().where('id', '=', id).where('deleted_at', 'is', null).executeTakeFirst()
  if (row && (row.visibility === 'public' || row.visibility === 'community')) return row
  return mine(caller, row, 'Image', id)
}
