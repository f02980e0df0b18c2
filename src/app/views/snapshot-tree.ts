/** Reads what `domain/snapshot-tree.ts` makes a tree of, in one look at the database. */
import type { ImageId, InstanceId, OperationId, PointId, SnapshotId, VolumeId } from '../../domain/ids.ts'
import { type Moment, type SnapshotTree, snapshotTree } from '../../domain/snapshot-tree.ts'
import type { Consistency, SnapshotKind } from '../../domain/volume.ts'
import type { Tx } from '../../ports/tables.ts'
import type { Caller } from '../caller.ts'
import { type ViewNeeds, visible } from './visible.ts'

export type Disk = { readonly volume: VolumeId; readonly device: string }

export type Mark = {
  readonly snapshot: SnapshotId
  readonly volume: VolumeId
  readonly point: PointId | null
  readonly device: string | null
  readonly sizeBytes: number
  readonly state: 'creating' | 'available' | 'error' | 'deleting'
}

export type InstanceMoment = Omit<Moment, 'marks'> & {
  readonly kind: 'instance' | 'volume' | 'safety'
  readonly name: string
  readonly image: ImageId | null
  readonly operation: OperationId
  /** Of a safety snapshot: the snapshot that its rollback went to. */
  readonly rolledBackTo: string | null
  readonly consistency: Consistency | null
  readonly consistencyWhy: string | null
  readonly marks: readonly Mark[]
}

export type InstanceTree = SnapshotTree<InstanceMoment> & {
  readonly instance: { readonly id: InstanceId; readonly name: string }
  /** In the order of their device names. */
  readonly disks: readonly Disk[]
}

export async function treeOfInstance(needs: ViewNeeds, caller: Caller, id: InstanceId): Promise<InstanceTree> {
  return await needs.db
    .transaction()
    .setIsolationLevel('repeatable read')
    .setAccessMode('read only')
    .execute(async (tx) => {
      const row = await tx
        .selectFrom('instances')
        .select(['id', 'name', 'project_id'])
        .where('id', '=', id)
        .where('deleted_at', 'is', null)
        .executeTakeFirst()
      const instance = visible(needs, caller, 'os_compute_api:servers:show', { what: 'Instance', id, row })
      const disks = await disksOf(tx, id)
      const snapshots = await snapshotsOf(tx, id, disks)
      const volumes = [...new Set([...disks.map(({ volume }) => volume), ...snapshots.map(({ volume }) => volume)])]
      const { heads, lineage } = await lineageOf(tx, volumes)
      const tree = snapshotTree(heads, lineage, momentsOf(snapshots))
      return { ...tree, instance: { id, name: instance.name }, disks }
    })
}

async function disksOf(tx: Tx, instance: InstanceId): Promise<Disk[]> {
  const disks = await tx
    .selectFrom('attachments')
    .select(['volume_id as volume', 'device'])
    .where('instance_id', '=', instance)
    .execute()
  return disks.toSorted((a, b) => a.device.length - b.device.length || (a.device < b.device ? -1 : 1))
}

/** All snapshots of its present disks, and those of volumes that were its disks when an instance snapshot was taken. */
async function snapshotsOf(tx: Tx, instance: InstanceId, disks: readonly Disk[]) {
  return await tx
    .selectFrom('volume_snapshots as s')
    .leftJoin('images as i', (join) => join.onRef('i.id', '=', 's.image_id').on('i.deleted_at', 'is', null))
    .select(['s.id as snapshot', 's.volume_id as volume', 's.point_id as point', 's.name', 's.kind', 's.device', 's.state'])
    .select(['s.size_bytes as sizeBytes', 's.created_at as takenAt', 's.operation_id as operation', 's.consistency'])
    .select(['s.consistency_why as consistencyWhy'])
    .select(['i.id as image', 'i.name as imageName', 's.metadata'])
    .where('s.deleted_at', 'is', null)
    .where('s.kind', '!=', 'backup')
    .where((row) => {
      const ofImage = row('i.instance_id', '=', instance)
      const volumes = disks.map(({ volume }) => volume)
      return volumes.length === 0 ? ofImage : row.or([ofImage, row('s.volume_id', 'in', volumes)])
    })
    .orderBy('s.device')
    .execute()
}
type SnapshotRow = Awaited<ReturnType<typeof snapshotsOf>>[number]

const kindOf = ({ image, kind }: SnapshotRow): InstanceMoment['kind'] => {
  if (image !== null) return 'instance'
  return kind === ('safety' satisfies SnapshotKind) ? 'safety' : 'volume'
}

function momentsOf(snapshots: readonly SnapshotRow[]): InstanceMoment[] {
  const key = (row: SnapshotRow) => row.image ?? (row.kind === 'safety' ? row.operation : row.snapshot)
  return [...Map.groupBy(snapshots, key)].map(([key, marks]) => {
    const first = marks[0]!
    return {
      key,
      kind: kindOf(first),
      name: first.imageName ?? first.name,
      takenAt: first.takenAt,
      image: first.image,
      operation: first.operation,
      rolledBackTo: first.metadata['xloud_rolled_back_to'] ?? null,
      consistency: first.consistency,
      consistencyWhy: first.consistencyWhy,
      marks,
    }
  })
}

/** Heads of the volumes, and every layer and point below their heads and snapshots. */
async function lineageOf(tx: Tx, volumes: readonly VolumeId[]) {
  if (volumes.length === 0) return { heads: new Map(), lineage: { layers: [], points: [] } }
  const heads = await tx
    .selectFrom('volumes')
    .select(['id', 'head_layer_id as head'])
    .where('id', 'in', volumes)
    .where('deleted_at', 'is', null)
    .execute()
  const layers = await tx
    .withRecursive('below(layer)', (query) =>
      query
        .selectFrom('volumes')
        .select('head_layer_id as layer')
        .where('id', 'in', volumes)
        .where('deleted_at', 'is', null)
        .union(
          query
            .selectFrom('volume_snapshots as s')
            .innerJoin('points as p', 'p.id', 's.point_id')
            .select('p.layer_id as layer')
            .where('s.volume_id', 'in', volumes)
            .where('s.deleted_at', 'is', null),
        )
        .union(
          query
            .selectFrom('below')
            .innerJoin('layers as l', 'l.id', 'below.layer')
            .innerJoin('points as p', 'p.id', 'l.parent_point_id')
            .select('p.layer_id as layer'),
        ),
    )
    .selectFrom('below')
    .innerJoin('layers as l', 'l.id', 'below.layer')
    .select(['l.id', 'l.parent_point_id as parent'])
    .execute()
  const ids = layers.map(({ id }) => id)
  const points = await tx
    .selectFrom('points')
    .select(['id', 'layer_id as layer', 'generation'])
    .where('layer_id', 'in', ids)
    .execute()
  return { heads: new Map(heads.map(({ id, head }) => [id, head])), lineage: { layers, points } }
}
