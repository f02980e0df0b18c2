/** Instances: make, start, stop, reboot, delete. */
import {
  type AttachmentId,
  type HostId,
  type InstanceId,
  newId,
  type OperationId,
  type PoolId,
  type VolumeId,
} from '../../domain/ids.ts'
import { type InstanceAction, requireInstanceFor } from '../../domain/instance.ts'
import { refuse } from '../../domain/refusals.ts'
import { GiB } from '../../domain/volume.ts'
import type { BootConfig, SnapshotOf, Tx } from '../../ports/tables.ts'
import type { CreateInstanceParams } from '../../sagas/create-instance.ts'
import type { NewVolume } from '../../sagas/parts/new-volume.ts'
import { requireBootParts } from '../boot-parts.ts'
import { type Caller, isAdmin, originOf } from '../caller.ts'
import type { Commands, CreateInstance, Labels } from '../commands.ts'
import { requireUnlocked } from '../instance-changes.ts'
import { exclusive } from '../locks.ts'
import type { Needs } from '../needs.ts'
import { ownedInstance, ownedVolume, usableImage } from '../owned.ts'
import { placeInstance, takePort } from '../placement.ts'
import { insertVolume, nextDevice, requireSpace, resolveSource } from './volumes.ts'

type Disk = CreateInstance['disks'][number]
type Take = Parameters<Parameters<Needs['operations']['begin']>[0]['plan']>[1]
type Verbs = Pick<Commands, 'createInstance' | 'startInstance' | 'stopInstance' | 'rebootInstance' | 'deleteInstance'>

export const instanceCommands = (needs: Needs): Verbs => ({
  async createInstance(caller, request) {
    needs.allow(caller, 'os_compute_api:servers:create', { project: caller.project })
    let instance = newId<InstanceId>()
    const started = await needs.operations.begin({
      kind: 'create-instance',
      origin: originOf(caller),
      digestOf: request,
      plan: async (tx, take, operation) => {
        instance = newId<InstanceId>()
        await take(exclusive('instance', instance))
        return { params: await planInstance(tx, take, needs, caller, request, instance, operation), instance }
      },
    })
    if (started.repeated) instance = (await needs.operations.show(started.id))?.instance ?? instance
    return { instance, operation: started.id }
  },

  async startInstance(caller, instance) {
    return begin(needs, caller, instance, 'start', 'start-instance', ({ host }) => ({ instance, host }))
  },
  async stopInstance(caller, instance, stop) {
    return begin(needs, caller, instance, 'stop', 'stop-instance', ({ host, wasRunning }) => ({
      instance,
      host,
      stop,
      wasRunning,
    }))
  },
  async rebootInstance(caller, instance, stop) {
    return begin(needs, caller, instance, 'reboot', 'reboot-instance', ({ host, wasRunning }) => ({
      instance,
      host,
      stop,
      wasRunning,
    }))
  },

  async deleteInstance(caller, instance) {
    const request = { kind: 'delete-instance', origin: originOf(caller), digestOf: { instance } }
    const before = await needs.operations.startedBefore(request)
    if (before) return { operation: before }
    const found = await ownedInstance(needs.db, caller, instance)
    needs.allow(caller, 'os_compute_api:servers:delete', { project: found.project_id })
    const { id: operation } = await needs.operations.begin({
      ...request,
      plan: async (tx, take) => {
        await take(exclusive('instance', instance))
        const row = await ownedInstance(tx, caller, instance)
        requireUnlocked(caller, row)
        requireInstanceFor('delete', row)
        const disks = await tx.selectFrom('attachments').select('volume_id').where('instance_id', '=', instance).execute()
        await take(exclusive('volume', ...disks.map(({ volume_id }) => volume_id)))
        await tx
          .updateTable('instances')
          .set({ state: 'deleting', updated_at: new Date() })
          .where('id', '=', instance)
          .execute()
        return { params: { instance, host: row.host_id }, instance }
      },
    })
    return { operation }
  },
})

async function begin<Params extends object>(
  needs: Needs,
  caller: Caller,
  instance: InstanceId,
  action: InstanceAction & ('start' | 'stop' | 'reboot'),
  kind: string,
  params: (facts: { host: HostId; wasRunning: boolean }) => Params,
): Promise<{ operation: OperationId }> {
  const found = await ownedInstance(needs.db, caller, instance)
  needs.allow(caller, `os_compute_api:servers:${action}`, { project: found.project_id })
  const { id: operation } = await needs.operations.begin({
    kind,
    origin: originOf(caller),
    digestOf: { instance },
    plan: async (tx, take) => {
      await take(exclusive('instance', instance))
      const row = await ownedInstance(tx, caller, instance)
      requireUnlocked(caller, row)
      requireInstanceFor(action, row)
      if (!row.host_id) throw refuse.noHost({ why: `instance ${instance} was never placed. Delete it and make it again.` })
      const disks = await tx.selectFrom('attachments').select('volume_id').where('instance_id', '=', instance).execute()
      await take(exclusive('volume', ...disks.map(({ volume_id }) => volume_id)))
      return { params: params({ host: row.host_id, wasRunning: row.state === 'running' }), instance }
    },
  })
  return { operation }
}

async function planInstance(
  tx: Tx,
  take: Take,
  needs: Needs,
  caller: Caller,
  request: CreateInstance,
  instance: InstanceId,
  operation: OperationId,
): Promise<CreateInstanceParams> {
  const flavor = await tx.selectFrom('flavors').selectAll().where('id', '=', request.flavor).executeTakeFirst()
  if (!flavor || flavor.disabled || (!flavor.is_public && !isAdmin(caller)))
    throw refuse.malformed({ why: `Flavor ${request.flavor} could not be found.` })
  const spec = { id: flavor.id, name: flavor.name, vcpus: flavor.vcpus, ramMib: flavor.ram_mib, diskGib: flavor.disk_gib }
  const disks = await wantedDisks(tx, caller, request, flavor.disk_gib)
  const existing: VolumeId[] = []
  for (const { source } of disks) if (source.from === 'volume') existing.push(source.volume)
  await take(exclusive('volume', ...existing))
  const attached = []
  for (const id of existing) attached.push(await freeVolume(tx, caller, id))
  const placed = await placeInstance(
    tx,
    request.host,
    attached.map(({ pool_id }) => pool_id),
    needs.settings.hostSilentSeconds,
  )
  await requireSpace(tx, needs, placed.pool)
  const key = request.keyName === null ? undefined : await keyOf(tx, caller, request.keyName)

  await tx
    .insertInto('instances')
    .values({
      id: instance,
      project_id: caller.project,
      user_id: caller.user,
      name: request.name,
      description: request.description,
      state: 'building',
      host_id: placed.host,
      flavor: JSON.stringify(spec),
      image_id: request.image,
      key_name: request.keyName,
      key_data: key ?? null,
      user_data: request.userData,
      metadata: JSON.stringify(request.metadata),
      tags: [...request.tags],
      paused_because: null,
      locked_reason: null,
    })
    .execute()
  await takePort(tx, instance, caller.project, request.network)

  const volumes: NewVolume[] = []
  const devices: string[] = []
  let boot: Labels | null = null
  for (const disk of disks) {
    const device = nextDevice(devices, disk.device)
    devices.push(device)
    const volume = await volumeFor(tx, take, caller, disk, placed.pool, operation, volumes)
    if (disk.bootIndex === 0)
      boot =
        (await tx.selectFrom('volumes').select('image_metadata').where('id', '=', volume).executeTakeFirst())?.image_metadata ??
        null
    await tx
      .insertInto('attachments')
      .values({
        id: newId<AttachmentId>(),
        instance_id: instance,
        volume_id: volume,
        device,
        boot_index: disk.bootIndex,
        delete_on_termination: disk.deleteOnTermination,
        tag: disk.tag,
      })
      .execute()
  }
  await requireBootParts(tx, take, caller, bootOf(boot))
  const needsMib = Number(boot?.['min_ram'] ?? 0)
  if (needsMib > flavor.ram_mib) throw refuse.flavorMemoryTooSmall({ has: flavor.ram_mib, needs: needsMib })
  await take(exclusive('volume', ...volumes.map(({ volume }) => volume)))
  await tx
    .updateTable('instances')
    .set({ boot: JSON.stringify({ ...bootOf(boot), configDrive: needsDrive(request) }) })
    .where('id', '=', instance)
    .execute()
  return { instance, host: placed.host, volumes, attached: existing }
}

async function volumeFor(
  tx: Tx,
  take: Take,
  caller: Caller,
  disk: Disk,
  pool: PoolId,
  operation: OperationId,
  made: NewVolume[],
): Promise<VolumeId> {
  const { source } = disk
  if (source.from === 'volume') return source.volume
  const found = await resolveSource(tx, caller, source, take)
  if (found.pool !== null && found.pool !== pool)
    throw refuse.noHost({ why: 'a disk source lies in a pool that the chosen host does not reach' })
  const row = { name: '', description: null, metadata: {}, bootable: disk.bootIndex === 0, plan: null, source }
  const volume = await insertVolume(tx, caller, found, pool, row, operation)
  made.push(volume)
  return volume.volume
}

/** What is given for the guest reaches it: nothing else would bring it a key or user data. */
const needsDrive = ({ configDrive, keyName, userData }: CreateInstance): boolean =>
  configDrive === true || keyName !== null || userData !== null

/** A kernel and ramdisk named by the image's properties (Glance's `kernel_id`, `ramdisk_id`, `os_command_line`). */
const bootOf = (properties: Labels | null): BootConfig => ({
  ...(properties?.['kernel_id'] ? { kernelId: properties['kernel_id'] } : {}),
  ...(properties?.['ramdisk_id'] ? { ramdiskId: properties['ramdisk_id'] } : {}),
  ...(properties?.['os_command_line'] ? { kernelArgs: properties['os_command_line'] } : {}),
})

/** The disks asked for; an image gives the boot disk, an instance snapshot's mapping gives every device not named. */
async function wantedDisks(tx: Tx, caller: Caller, request: CreateInstance, flavorGib: number): Promise<Disk[]> {
  const { image, disks } = request
  let wanted = [...disks]
  if (image !== null) {
    const row = await usableImage(tx, caller, image)
    if (row.status !== 'active') throw refuse.imageNotUsable({ id: image, why: `its status is ${row.status}, not active` })
    if (row.snapshot_of) wanted = [...fromMapping(row.snapshot_of, wanted), ...wanted]
    else if (!wanted.some(({ bootIndex }) => bootIndex === 0)) {
      const sizeBytes = flavorGib > 0 ? flavorGib * GiB : null
      wanted = [
        { source: { from: 'image', image, sizeBytes }, bootIndex: 0, deleteOnTermination: true, device: null, tag: null },
        ...wanted,
      ]
    }
  }
  wanted.sort((a, b) => Number(b.bootIndex === 0) - Number(a.bootIndex === 0))
  if (wanted[0]?.bootIndex !== 0)
    throw refuse.malformed({
      why: 'Block Device Mapping is Invalid: Boot sequence for the instance and image/block device mapping combination is not valid.',
    })
  return wanted
}

const fromMapping = (snapshot: SnapshotOf, named: readonly Disk[]): Disk[] =>
  snapshot.disks
    .filter(
      ({ device, bootIndex }) =>
        !named.some((disk) => disk.device?.endsWith(device) || (bootIndex === 0 && disk.bootIndex === 0)),
    )
    .map(({ device, bootIndex, snapshot: id }) => ({
      source: { from: 'snapshot', snapshot: id, sizeBytes: null },
      bootIndex,
      deleteOnTermination: false,
      device,
      tag: null,
    }))

async function freeVolume(tx: Tx, caller: Caller, id: VolumeId) {
  const volume = await ownedVolume(tx, caller, id)
  const attached = await tx.selectFrom('attachments').select('id').where('volume_id', '=', id).executeTakeFirst()
  if (attached || volume.state !== 'ready')
    throw refuse.volumeWrongState({ id, needs: 'available', state: attached ? 'in-use' : volume.state })
  return volume
}

async function keyOf(tx: Tx, caller: Caller, name: string): Promise<string> {
  const row = await tx
    .selectFrom('keypairs')
    .select('public_key')
    .where('user_id', '=', caller.user)
    .where('name', '=', name)
    .executeTakeFirst()
  if (!row) throw refuse.malformed({ why: 'Invalid key_name provided.' })
  return row.public_key
}
