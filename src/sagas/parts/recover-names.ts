/** The names of recovered points: volume snapshots, and the instance snapshots that several of them make up. */
import type { ImageId, InstanceId, OperationId, PointId, SnapshotId } from '../../domain/ids.ts'
import type { SnapshotOf, Tx } from '../../ports/tables.ts'
import type { RecoveredSnapshot, RecoveryPlan } from './recovery-plan.ts'

export async function applySnapshots(tx: Tx, { pool, snapshots, points }: RecoveryPlan, by: OperationId): Promise<number> {
  const volumes = new Set(
    (await tx.selectFrom('volumes').select('id').where('deleted_at', 'is', null).execute()).map(({ id }) => id),
  )
  let added = 0
  for (const snapshot of snapshots) {
    if (!volumes.has(snapshot.volume)) continue
    const row = await tx
      .selectFrom('volume_snapshots')
      .select('id')
      .where('id', '=', snapshot.id as SnapshotId)
      .executeTakeFirst()
    if (row) continue
    await tx.insertInto('volume_snapshots').values(rowOf(snapshot, by)).execute()
    added += 1
  }
  await failLost(tx, pool, new Set(points.map(({ id }) => id)))
  return added
}

/** Snapshots of this pool whose points are not there any more: they were deleted after the copy that was restored was made. */
async function failLost(tx: Tx, pool: RecoveryPlan['pool'], there: ReadonlySet<PointId>): Promise<void> {
  const named = await tx
    .selectFrom('volume_snapshots as s')
    .innerJoin('points as p', 'p.id', 's.point_id')
    .innerJoin('layers as l', 'l.id', 'p.layer_id')
    .select(['s.id', 'p.id as point'])
    .where('l.pool_id', '=', pool)
    .where('s.deleted_at', 'is', null)
    .where('s.state', '=', 'available')
    .execute()
  const gone = named.filter(({ point }) => !there.has(point)).map(({ id }) => id)
  if (gone.length > 0) await tx.updateTable('volume_snapshots').set({ state: 'error' }).where('id', 'in', gone).execute()
}

const rowOf = (snapshot: RecoveredSnapshot, by: OperationId) => ({
  id: snapshot.id as SnapshotId,
  project_id: snapshot.project as never,
  user_id: null,
  volume_id: snapshot.volume,
  point_id: snapshot.point,
  name: snapshot.name,
  description: 'Recovered from its pool',
  kind: snapshot.kind,
  size_bytes: snapshot.sizeBytes,
  state: 'available' as const,
  metadata: JSON.stringify(snapshot.metadata),
  instance_id: snapshot.instance?.id ?? null,
  device: snapshot.instance?.device ?? null,
  image_id: null,
  operation_id: by,
  consistency: snapshot.consistency ?? ('crash' as const),
  consistency_why: snapshot.consistencyWhy ?? null,
  created_at: new Date(snapshot.createdAt),
})

/** An instance snapshot that is missing is put together again from the volume snapshots that name it. */
export async function applyImages(tx: Tx, { snapshots }: RecoveryPlan): Promise<void> {
  const byImage = Map.groupBy(
    snapshots.filter(({ image }) => image !== null),
    ({ image }) => image as ImageId,
  )
  for (const [image, parts] of byImage) {
    const existing = await tx.selectFrom('images').select('id').where('id', '=', image).executeTakeFirst()
    const first = parts[0]
    if (existing || !first?.instance) continue
    const instance = await tx.selectFrom('instances').selectAll().where('id', '=', first.instance.id).executeTakeFirst()
    if (!instance) continue
    const snapshotOf = await describe(tx, instance.id, instance.name, instance.flavor, parts)
    const name = first.name.replace(/^snapshot for /, '')
    await tx
      .insertInto('images')
      .values({
        id: image,
        project_id: instance.project_id,
        name,
        status: 'active',
        visibility: 'private',
        container_format: null,
        disk_format: null,
        size_bytes: 0,
        virtual_size_bytes: null,
        checksum: null,
        os_hash_algo: null,
        os_hash_value: null,
        pool_id: null,
        layer_id: null,
        point_id: null,
        instance_id: instance.id,
        snapshot_of: JSON.stringify(snapshotOf),
        created_at: new Date(first.createdAt),
      })
      .execute()
    await tx
      .updateTable('volume_snapshots')
      .set({ image_id: image })
      .where(
        'id',
        'in',
        parts.map(({ id }) => id as SnapshotId),
      )
      .execute()
  }
}

async function describe(
  tx: Tx,
  instance: InstanceId,
  instanceName: string,
  flavor: SnapshotOf['flavor'],
  parts: readonly RecoveredSnapshot[],
): Promise<SnapshotOf> {
  const attached = await tx
    .selectFrom('attachments as a')
    .innerJoin('volumes as v', 'v.id', 'a.volume_id')
    .select(['a.volume_id', 'a.boot_index', 'v.name'])
    .where('a.instance_id', '=', instance)
    .execute()
  const disks = parts.map(({ volume, id, sizeBytes, instance: where }) => {
    const row = attached.find(({ volume_id }) => volume_id === volume)
    const device = where?.device ?? 'vda'
    return {
      device,
      bootIndex: row?.boot_index ?? (device === 'vda' ? 0 : null),
      volume,
      volumeName: row?.name ?? '',
      snapshot: id as SnapshotId,
      sizeBytes,
    }
  })
  return { instance, instanceName, flavor, disks, scope: disks.length >= attached.length ? 'all' : 'chosen' }
}
