/** Volumes: make, extend, delete, attach, detach. */
import type {
  AttachmentId,
  BackupId,
  Bytes,
  ImageId,
  LayerId,
  OperationId,
  PlanId,
  PoolId,
  VolumeId,
} from '../../domain/ids.ts'
import { newId } from '../../domain/ids.ts'
import { requireInstanceFor } from '../../domain/instance.ts'
import { refuse } from '../../domain/refusals.ts'
import { GiB } from '../../domain/volume.ts'
import type { PointRef } from '../../ports/storage-driver.ts'
import type { Db, Tx } from '../../ports/tables.ts'
import { namedSnapshots } from '../../sagas/parts/delete-rows.ts'
import { chainOf, disksOf } from '../../sagas/parts/machine.ts'
import type { NewVolume } from '../../sagas/parts/new-volume.ts'
import type { AttachVolumeParams, DetachVolumeParams } from '../../sagas/volume-changes.ts'
import { type Caller, originOf } from '../caller.ts'
import type { Commands, DiskSource, Labels } from '../commands.ts'
import { requireUnlocked } from '../instance-changes.ts'
import { exclusive, shared } from '../locks.ts'
import type { Needs } from '../needs.ts'
import { ownedInstance, ownedSnapshot, ownedVolume, usableImage } from '../owned.ts'
import { paramsOf } from '../params-of.ts'
import { requirePlan } from '../plans.ts'
import { requireFree } from '../volume-guards.ts'

export type Made = {
  readonly from: PointRef | null
  readonly pool: PoolId | null
  readonly sizeBytes: Bytes
  readonly imageMetadata: Labels | null
  /** The volume whose snapshot it is made from. */
  readonly source: { readonly name: string; readonly plan: PlanId | null } | null
}
type NewSource = Exclude<DiskSource, { from: 'volume' }>
type RowSource = NewSource | { readonly from: 'backup'; readonly backup: BackupId }

/** The point a new volume starts from and the size it gets; the source is locked so that it stays meanwhile. */
export async function resolveSource(
  tx: Tx,
  caller: Caller,
  source: NewSource,
  take: (locks: ReturnType<typeof shared>) => Promise<void>,
): Promise<Made> {
  if (source.from === 'blank') return { from: null, pool: null, sizeBytes: source.sizeBytes, imageMetadata: null, source: null }
  if (source.from === 'image') {
    await take(shared('image', source.image))
    return fromImage(tx, caller, source.image, source.sizeBytes)
  }
  await take(shared('snapshot', source.snapshot))
  const snapshot = await ownedSnapshot(tx, caller, source.snapshot)
  if (snapshot.state !== 'available' || !snapshot.point_id) throw refuse.snapshotUnusable()
  const point = await tx
    .selectFrom('points as p')
    .innerJoin('layers as l', 'l.id', 'p.layer_id')
    .select(['p.layer_id', 'l.pool_id'])
    .where('p.id', '=', snapshot.point_id)
    .executeTakeFirstOrThrow()
  const volume = await tx
    .selectFrom('volumes')
    .select(['image_metadata', 'name', 'plan_id as plan'])
    .where('id', '=', snapshot.volume_id)
    .executeTakeFirst()
  const sizeBytes = atLeast(source.sizeBytes, snapshot.size_bytes)
  return {
    from: { layer: point.layer_id, point: snapshot.point_id },
    pool: point.pool_id,
    sizeBytes,
    imageMetadata: volume?.image_metadata ?? null,
    source: volume ?? null,
  }
}

async function fromImage(tx: Tx, caller: Caller, id: ImageId, asked: Bytes | null): Promise<Made> {
  const image = await usableImage(tx, caller, id)
  if (image.status !== 'active') throw refuse.imageNotUsable({ id, why: `its status is ${image.status}, not active` })
  if (!image.layer_id || !image.point_id || !image.pool_id) throw refuse.imageNotUsable({ id, why: 'it holds no disk' })
  const content = image.virtual_size_bytes ?? 0
  const whole = Math.max(Math.ceil(content / GiB), image.min_disk_gib, 1) * GiB
  const sizeBytes = atLeast(asked, Math.max(content, image.min_disk_gib * GiB), whole)
  const imageMetadata = {
    ...image.properties,
    image_id: id,
    image_name: image.name ?? '',
    checksum: image.checksum ?? '',
    container_format: image.container_format ?? '',
    disk_format: image.disk_format ?? '',
    min_disk: String(image.min_disk_gib),
    min_ram: String(image.min_ram_mib),
    size: String(image.size_bytes ?? 0),
  }
  return { from: { layer: image.layer_id, point: image.point_id }, pool: image.pool_id, sizeBytes, imageMetadata, source: null }
}

export function atLeast(asked: Bytes | null, needed: Bytes, whenNotAsked: Bytes = needed): Bytes {
  if (asked !== null && asked < needed)
    throw refuse.volumeTooSmall({ size: Math.floor(asked / GiB), needs: Math.ceil(needed / GiB) })
  return asked ?? whenNotAsked
}

export type VolumeRow = {
  readonly name: string
  readonly description: string | null
  readonly metadata: Labels
  readonly bootable: boolean
  readonly plan: PlanId | null
  readonly source: RowSource
}

/** Writes the rows of a volume in the making, and gives what its saga needs. */
export async function insertVolume(
  tx: Tx,
  caller: Caller,
  made: Made,
  pool: PoolId,
  row: VolumeRow,
  operation: OperationId,
): Promise<NewVolume> {
  if (made.sizeBytes < 1 || !Number.isSafeInteger(made.sizeBytes))
    throw refuse.malformed({ why: 'A volume needs a size of at least 1 GiB.' })
  const volume = newId<VolumeId>()
  const layer = newId<LayerId>()
  const { from, sizeBytes, imageMetadata } = made
  await tx
    .insertInto('layers')
    .values({
      id: layer,
      pool_id: pool,
      parent_point_id: from?.point ?? null,
      size_bytes: sizeBytes,
      state: 'making',
      made_by: operation,
    })
    .execute()
  await tx
    .insertInto('volumes')
    .values({
      id: volume,
      project_id: caller.project,
      user_id: caller.user,
      name: row.name,
      description: row.description,
      pool_id: pool,
      size_bytes: sizeBytes,
      head_layer_id: layer,
      state: 'creating',
      bootable: row.bootable || imageMetadata !== null,
      metadata: JSON.stringify(row.metadata),
      image_id: row.source.from === 'image' ? row.source.image : null,
      image_metadata: imageMetadata === null ? null : JSON.stringify(imageMetadata),
      source_snapshot_id: row.source.from === 'snapshot' ? row.source.snapshot : null,
      source_volume_id: null,
      source_backup_id: row.source.from === 'backup' ? row.source.backup : null,
      plan_id: row.plan,
    })
    .execute()
  return { volume, pool, layer, from, sizeBytes }
}

/** The pool of volumes that nothing ties to one: the first one that any enabled host reaches. */
export async function defaultPool(tx: Db | Tx): Promise<PoolId> {
  const row = await tx
    .selectFrom('pools as p')
    .innerJoin('pool_hosts as ph', 'ph.pool_id', 'p.id')
    .innerJoin('hosts as h', 'h.id', 'ph.host_id')
    .select('p.id')
    .where('h.enabled', '=', true)
    .orderBy('p.created_at')
    .executeTakeFirst()
  if (!row) throw refuse.noHost({ why: 'there is no storage pool yet. Start an agent.' })
  return row.id
}

export async function requireSpace(tx: Tx, needs: Needs, pool: PoolId): Promise<void> {
  const row = await tx
    .selectFrom('pools')
    .select(['name', 'free_bytes', 'measured_at'])
    .where('id', '=', pool)
    .executeTakeFirstOrThrow()
  if (row.measured_at && row.free_bytes < needs.settings.poolReserveBytes) throw refuse.poolFull({ pool: row.name })
}

const statusWord = (attached: boolean, state: string) => (state === 'ready' ? (attached ? 'in-use' : 'available') : state)

type Verbs = Pick<Commands, 'createVolume' | 'extendVolume' | 'deleteVolume' | 'attachVolume' | 'detachVolume'>

export const volumeCommands = (needs: Needs): Verbs => ({
  async createVolume(caller, request) {
    needs.allow(caller, 'volume:create', { project: caller.project })
    let volume = newId<VolumeId>()
    const started = await needs.operations.begin({
      kind: 'create-volume',
      origin: originOf(caller),
      digestOf: request,
      plan: async (tx, take, operation) => {
        const made = await resolveSource(tx, caller, request.source, take)
        const pool = made.pool ?? (await defaultPool(tx))
        await requireSpace(tx, needs, pool)
        const plan = request.plan === undefined ? (made.source?.plan ?? null) : request.plan
        if (plan) await requirePlan(tx, plan)
        const name = request.name ?? made.source?.name ?? ''
        const params = await insertVolume(tx, caller, made, pool, { ...request, name, plan, bootable: false }, operation)
        volume = params.volume
        await take(exclusive('volume', volume))
        return { params, instance: null }
      },
    })
    if (started.repeated) volume = (await paramsOf<NewVolume>(needs, started.id)).volume
    return { volume, operation: started.id }
  },

  async extendVolume(caller, id, sizeBytes) {
    const found = await ownedVolume(needs.db, caller, id)
    needs.allow(caller, 'volume:extend', { project: found.project_id })
    const { id: operation } = await needs.operations.begin({
      kind: 'extend-volume',
      origin: originOf(caller),
      digestOf: { id, sizeBytes },
      plan: async (tx, take) => {
        await take(exclusive('volume', id))
        const volume = await ownedVolume(tx, caller, id)
        if (volume.state !== 'ready') throw refuse.volumeWrongState({ id, needs: 'available or in-use', state: volume.state })
        if (sizeBytes <= volume.size_bytes) {
          throw refuse.malformed({
            why: `Invalid input received: New size for extend must be greater than current size. (current: ${Math.round(volume.size_bytes / GiB)}, extended: ${Math.round(sizeBytes / GiB)}).`,
          })
        }
        await requireSpace(tx, needs, volume.pool_id)
        const open = await tx
          .selectFrom('attachments as a')
          .innerJoin('instances as i', 'i.id', 'a.instance_id')
          .select(['i.id as instance', 'i.host_id as host', 'a.device', 'i.state'])
          .where('a.volume_id', '=', id)
          .executeTakeFirst()
        const running =
          open?.state === 'running' && open.host ? { instance: open.instance, host: open.host, device: open.device } : null
        return {
          params: { volume: id, pool: volume.pool_id, head: volume.head_layer_id, sizeBytes, open: running },
          instance: null,
        }
      },
    })
    return { operation }
  },

  async deleteVolume(caller, id, { cascade }) {
    const request = { kind: 'delete-volume', origin: originOf(caller), digestOf: { id, cascade } }
    const before = await needs.operations.startedBefore(request)
    if (before) return { operation: before }
    const found = await ownedVolume(needs.db, caller, id)
    needs.allow(caller, 'volume:delete', { project: found.project_id })
    const { id: operation } = await needs.operations.begin({
      ...request,
      plan: async (tx, take) => {
        await take(exclusive('volume', id))
        const volume = await ownedVolume(tx, caller, id)
        const attached = await tx.selectFrom('attachments').select('instance_id').where('volume_id', '=', id).executeTakeFirst()
        await requireFree(tx, id)
        if (attached || volume.state === 'creating') {
          throw refuse.volumeWrongState({
            id,
            needs: 'available or error',
            state: statusWord(attached !== undefined, volume.state),
          })
        }
        const kept = await namedSnapshots(tx, id)
        if (kept.length > 0 && !cascade) {
          throw refuse.malformed({
            why: `Invalid volume: Volume ${id} still has ${kept.length} dependent snapshots. Delete them first, or delete with cascade.`,
          })
        }
        const all = await tx
          .selectFrom('volume_snapshots')
          .select('id')
          .where('volume_id', '=', id)
          .where('deleted_at', 'is', null)
          .execute()
        await take(exclusive('snapshot', ...all.map(({ id: snapshot }) => snapshot)))
        return { params: { volume: id }, instance: null }
      },
    })
    return { operation }
  },

  async attachVolume(caller, { instance, volume: id, device, deleteOnTermination, tag }) {
    const owner = await ownedInstance(needs.db, caller, instance)
    needs.allow(caller, 'os_compute_api:os-volumes-attachments:create', { project: owner.project_id })
    let attachment = newId<AttachmentId>()
    let chosen = ''
    const { id: operation, repeated } = await needs.operations.begin<AttachVolumeParams>({
      kind: 'attach-volume',
      origin: originOf(caller),
      digestOf: { instance, id, device, deleteOnTermination, tag },
      plan: async (tx, take) => {
        await take([...exclusive('instance', instance), ...exclusive('volume', id)])
        const row = await ownedInstance(tx, caller, instance)
        requireUnlocked(caller, row)
        requireInstanceFor('attach_volume', row)
        const volume = await ownedVolume(tx, caller, id)
        const attached = await tx.selectFrom('attachments').select('instance_id').where('volume_id', '=', id).executeTakeFirst()
        if (attached || volume.state !== 'ready')
          throw refuse.volumeWrongState({ id, needs: 'available', state: statusWord(attached !== undefined, volume.state) })
        const disks = await disksOf(tx, instance)
        chosen = nextDevice(
          disks.map((disk) => disk.device),
          device,
        )
        const disk = {
          device: chosen,
          volume: id,
          pool: volume.pool_id,
          chain: await chainOf(tx, volume.head_layer_id),
          sizeBytes: volume.size_bytes,
        }
        const plug = row.state === 'running' && row.host_id ? { host: row.host_id, disk } : null
        return {
          params: {
            attachment,
            volume: id,
            head: volume.head_layer_id,
            instance,
            device: chosen,
            deleteOnTermination,
            tag,
            plug,
          },
          instance,
        }
      },
    })
    if (repeated) ({ attachment, device: chosen } = await paramsOf<AttachVolumeParams>(needs, operation))
    return { operation, attachment, device: chosen }
  },

  async detachVolume(caller, instance, id) {
    const request = { kind: 'detach-volume', origin: originOf(caller), digestOf: { instance, id } }
    const before = await needs.operations.startedBefore(request)
    if (before) return { operation: before }
    const owner = await ownedInstance(needs.db, caller, instance)
    needs.allow(caller, 'os_compute_api:os-volumes-attachments:delete', { project: owner.project_id })
    const { id: operation } = await needs.operations.begin<DetachVolumeParams>({
      ...request,
      plan: async (tx, take) => {
        await take([...exclusive('instance', instance), ...exclusive('volume', id)])
        const row = await ownedInstance(tx, caller, instance)
        requireUnlocked(caller, row)
        requireInstanceFor('detach_volume', row)
        const disk = (await disksOf(tx, instance)).find(({ volume }) => volume === id)
        if (!disk) throw refuse.notFound({ what: 'Attached volume', id })
        if (disk.boot_index === 0) throw refuse.forbidden({ rule: 'detaching the root volume of an instance' })
        const { device, pool, sizeBytes, head } = disk
        const plug =
          row.state === 'running' && row.host_id
            ? { host: row.host_id, disk: { device, volume: id, pool, sizeBytes, chain: await chainOf(tx, head) } }
            : null
        return { params: { volume: id, head, instance, device, plug }, instance }
      },
    })
    return { operation }
  },
})

/** The device asked for, if it is a free one, else the first free of vda, vdb, …; a machine takes up to 26 disks. */
export function nextDevice(taken: readonly string[], asked: string | null): string {
  const wanted = asked?.replace(/^\/dev\//, '')
  if (wanted !== undefined) {
    if (!/^vd[a-z]$/.test(wanted)) throw refuse.malformed({ why: `Device ${asked} is not one of /dev/vda to /dev/vdz.` })
    if (taken.includes(wanted)) throw refuse.inUse({ what: 'Device', id: `/dev/${wanted}`, by: 'another volume' })
    return wanted
  }
  const free = [...'abcdefghijklmnopqrstuvwxyz'].map((letter) => `vd${letter}`).find((device) => !taken.includes(device))
  if (!free) throw refuse.malformed({ why: 'The instance already has 26 disks, the most there may be.' })
  return free
}
