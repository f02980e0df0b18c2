/**
 * How a volume was left. `left_clean`: the last machine that had it open was shut down by its guest, and nobody has opened it
 * since. It is forgotten before anybody opens the volume, and when it gets another head; so at worst too little is claimed.
 */
import type { InstanceId, VolumeId } from '../../domain/ids.ts'
import type { Db, Tx } from '../../ports/tables.ts'

const ofInstance = (db: Db | Tx, instance: InstanceId) =>
  db.selectFrom('attachments').select('volume_id').where('instance_id', '=', instance)

export async function lockVolumesOf(tx: Tx, instance: InstanceId): Promise<void> {
  await tx.selectFrom('volumes').select('id').where('id', 'in', ofInstance(tx, instance)).orderBy('id').forUpdate().execute()
}

export async function leaveClean(db: Db | Tx, instance: InstanceId): Promise<void> {
  await db.updateTable('volumes').set({ left_clean: true }).where('id', 'in', ofInstance(db, instance)).execute()
}

export async function openedByInstance(db: Db | Tx, instance: InstanceId): Promise<void> {
  await db.updateTable('volumes').set({ left_clean: false }).where('id', 'in', ofInstance(db, instance)).execute()
}

export async function opened(db: Db | Tx, volume: VolumeId): Promise<void> {
  await db.updateTable('volumes').set({ left_clean: false }).where('id', '=', volume).execute()
}

/** Whether all of them were. */
export async function wereLeftClean(db: Db | Tx, volumes: readonly VolumeId[]): Promise<boolean> {
  const rows = await db.selectFrom('volumes').select('left_clean').where('id', 'in', volumes).execute()
  return rows.length === volumes.length && rows.every(({ left_clean }) => left_clean)
}
