/** A disk whose point is about to be taken: its snapshot in the making, and the layer that goes on. */
import {
  type ImageId,
  type InstanceId,
  type LayerId,
  newId,
  type OperationId,
  type PointId,
  type SnapshotId,
  type VolumeId,
} from '../domain/ids.ts'
import type { SnapshotKind } from '../domain/volume.ts'
import type { Tx } from '../ports/tables.ts'
import type { PointedDisk } from '../sagas/take-points.ts'
import type { Caller } from './caller.ts'
import { requireShortChain } from './chains.ts'
import type { Labels } from './commands.ts'

export type NamedDisk = {
  readonly volume: VolumeId
  readonly pool: PointedDisk['pool']
  readonly head: LayerId
  readonly sizeBytes: number
  readonly device: string | null
  readonly snapshot: SnapshotId
  readonly name: string
  readonly description: string | null
  readonly kind: SnapshotKind
  readonly metadata: Labels
  readonly instance: InstanceId | null
  readonly image: ImageId | null
}

/** Writes the row of a snapshot in the making, and names the layer that goes on after it. */
export async function nameDisk(tx: Tx, caller: Caller, operation: OperationId, named: NamedDisk): Promise<PointedDisk> {
  const { volume, pool, head, sizeBytes, device, snapshot, name, description, kind, metadata } = named
  const { kind: storage } = await tx.selectFrom('pools').select('kind').where('id', '=', pool).executeTakeFirstOrThrow()
  const next = storage === 'rbd' ? null : newId<LayerId>()
  if (next) await requireShortChain(tx, volume, head)
  if (next)
    await tx
      .insertInto('layers')
      .values({ id: next, pool_id: pool, parent_point_id: null, size_bytes: sizeBytes, state: 'making', made_by: operation })
      .execute()
  const owner = await tx.selectFrom('volumes').select('project_id').where('id', '=', volume).executeTakeFirstOrThrow()
  await tx
    .insertInto('volume_snapshots')
    .values({
      id: snapshot,
      project_id: owner.project_id,
      user_id: caller.user,
      volume_id: volume,
      point_id: null,
      name,
      description,
      kind,
      size_bytes: sizeBytes,
      state: 'creating',
      metadata: JSON.stringify(metadata),
      instance_id: named.instance,
      device,
      image_id: named.image,
      operation_id: operation,
      consistency: null,
    })
    .execute()
  return {
    volume,
    pool,
    device,
    head,
    next,
    point: newId<PointId>(),
    snapshot: { id: snapshot, name, kind, metadata },
    sizeBytes,
  }
}
