/** Volume snapshots and instance snapshots: take and delete. All are the one saga take-points. */
import { type ImageId, newId, type OperationId, type SnapshotId, type VolumeId } from '../../domain/ids.ts'
import { requireInstanceFor } from '../../domain/instance.ts'
import { Refusal, refuse } from '../../domain/refusals.ts'
import type { Tx } from '../../ports/tables.ts'
import type { DeleteSnapshotsParams } from '../../sagas/delete-names.ts'
import { layersOfSnapshots } from '../../sagas/parts/delete-rows.ts'
import { disksOf } from '../../sagas/parts/machine.ts'
import type { PointedDisk, TakePointsParams } from '../../sagas/take-points.ts'
import { isAdmin, originOf, partOf } from '../caller.ts'
import { chooseDisks } from '../choose-disks.ts'
import type { Commands, Labels } from '../commands.ts'
import { exclusive } from '../locks.ts'
import { nameDisk } from '../name-disk.ts'
import type { Needs } from '../needs.ts'
import { ownedInstance, ownedSnapshot, ownedVolume } from '../owned.ts'
import { paramsOf } from '../params-of.ts'
import { timestamp } from '../timestamp.ts'
import { lockAccount, requireConfirmed, requireVolumeOperation } from '../volume-guards.ts'
import { requireSpace } from './volumes.ts'

type Verbs = Pick<
  Commands,
  'createVolumeSnapshot' | 'deleteVolumeSnapshot' | 'deleteOldSafetySnapshots' | 'createInstanceSnapshot'
>

export const snapshotCommands = (needs: Needs): Verbs => ({
  async createVolumeSnapshot(caller, request) {
    const found = await ownedVolume(needs.db, caller, request.volume)
    needs.allow(caller, 'volume:create_snapshot', { project: found.project_id })
    let snapshot = newId<SnapshotId>()
    const started = await needs.operations.begin<TakePointsParams>({
      kind: 'take-points',
      origin: originOf(caller),
      digestOf: request,
      plan: async (tx, take, operation) => {
        await lockAccount(tx, caller)
        const attachment = await tx
          .selectFrom('attachments')
          .selectAll()
          .where('volume_id', '=', request.volume)
          .executeTakeFirst()
        await take([
          ...exclusive('instance', ...(attachment ? [attachment.instance_id] : [])),
          ...exclusive('volume', request.volume),
        ])
        const volume = await ownedVolume(tx, caller, request.volume)
        if (volume.state !== 'ready') throw refuse.volumeWrongState({ id: volume.id, needs: 'available', state: volume.state })
        const machine = attachment
          ? await tx.selectFrom('instances').selectAll().where('id', '=', attachment.instance_id).executeTakeFirstOrThrow()
          : null
        await requireVolumeOperation(tx, needs, caller, [volume.id], 'snapshot')
        if (machine && !request.force) throw refuse.volumeWrongState({ id: volume.id, needs: 'available', state: 'in-use' })
        await requireSpace(tx, needs, volume.pool_id)
        snapshot = newId<SnapshotId>()
        const disk = await nameDisk(tx, caller, operation, {
          volume: volume.id,
          pool: volume.pool_id,
          head: volume.head_layer_id,
          sizeBytes: volume.size_bytes,
          device: attachment?.device ?? null,
          snapshot,
          name: request.name ?? `snapshot-${timestamp()}`,
          description: request.description,
          kind: 'user',
          metadata: request.metadata,
          instance: machine?.id ?? null,
          image: null,
        })
        const running = machine?.state === 'running'
        return {
          params: {
            instance: machine?.id ?? null,
            host: machine?.host_id ?? null,
            running,
            image: null,
            consistency: request.consistency,
            freezeSeconds: needs.settings.freezeSeconds,
            disks: [disk],
          },
          instance: machine?.id ?? null,
          volumeOperation: { volume: volume.id, name: 'snapshot' },
        }
      },
    })
    if (started.repeated) snapshot = (await paramsOf<TakePointsParams>(needs, started.id)).disks[0]!.snapshot.id
    return { snapshot, operation: started.id }
  },

  async createInstanceSnapshot(caller, request) {
    const found = await ownedInstance(needs.db, caller, request.instance)
    needs.allow(caller, 'os_compute_api:servers:create_image', { project: found.project_id })
    let image = newId<ImageId>()
    const started = await needs.operations.begin<TakePointsParams>({
      kind: 'take-points',
      origin: originOf(caller),
      digestOf: request,
      plan: async (tx, take, operation) => {
        await take(exclusive('instance', request.instance))
        const row = await ownedInstance(tx, caller, request.instance)
        requireInstanceFor('createImage', row)
        const all = await disksOf(tx, row.id)
        const chosen = chooseDisks(all, request.disks)
        await take(exclusive('volume', ...chosen.map(({ volume }) => volume)))
        image = newId<ImageId>()
        await insertImage(tx, image, row, request)
        await take(exclusive('image', image))
        const disks: PointedDisk[] = []
        for (const disk of chosen) {
          await requireSpace(tx, needs, disk.pool)
          const named = {
            ...disk,
            snapshot: newId<SnapshotId>(),
            name: `snapshot for ${request.name}`,
            description: '',
            kind: 'instance' as const,
            metadata: {},
            instance: row.id,
            image,
          }
          disks.push(await nameDisk(tx, caller, operation, named))
        }
        const mapping = disks.map((disk) => {
          const { bootIndex, name } = { bootIndex: null, name: '', ...chosenFacts(chosen, disk.volume) }
          return {
            device: disk.device!,
            bootIndex,
            volume: disk.volume,
            volumeName: name,
            snapshot: disk.snapshot.id,
            sizeBytes: disk.sizeBytes,
          }
        })
        const scope = chosen.length === all.length ? 'all' : 'chosen'
        const snapshotOf = { instance: row.id, instanceName: row.name, flavor: row.flavor, disks: mapping, scope }
        await tx
          .updateTable('images')
          .set({ snapshot_of: JSON.stringify(snapshotOf) })
          .where('id', '=', image)
          .execute()
        const { freezeSeconds } = needs.settings
        const params = {
          instance: row.id,
          host: row.host_id,
          running: row.state === 'running',
          image,
          consistency: request.consistency,
          freezeSeconds,
          disks,
        }
        return { params, instance: row.id }
      },
    })
    if (started.repeated) image = (await paramsOf<TakePointsParams>(needs, started.id)).image!
    return { image, operation: started.id }
  },

  async deleteVolumeSnapshot(caller, snapshot, { confirm }) {
    const request = { kind: 'delete-snapshots', origin: originOf(caller), digestOf: { snapshot } }
    const before = await needs.operations.startedBefore(request)
    if (before) return { operation: before }
    const found = await ownedSnapshot(needs.db, caller, snapshot)
    needs.allow(caller, 'volume:delete_snapshot', { project: found.project_id })
    const { id: operation } = await needs.operations.begin<DeleteSnapshotsParams>({
      ...request,
      plan: async (tx, take) => {
        await take(exclusive('snapshot', snapshot))
        const row = await ownedSnapshot(tx, caller, snapshot)
        requireConfirmed('snapshot', row.name, confirm)
        if (row.state === 'creating')
          throw refuse.snapshotHasDependents({
            id: snapshot,
            why: 'status must be available or error, but it is being created',
          })
        return { params: { snapshots: [snapshot], layers: await layersOfSnapshots(tx, [snapshot]) }, instance: null }
      },
    })
    return { operation }
  },

  async deleteOldSafetySnapshots(caller, olderThanSeconds) {
    needs.allow(caller, 'comeback:safety_snapshots:delete_old', { project: caller.project })
    if (!isAdmin(caller)) throw refuse.forbidden({ rule: 'comeback:safety_snapshots:delete_old' })
    const before = new Date(Date.now() - olderThanSeconds * 1000)
    const old = await needs.db
      .selectFrom('volume_snapshots')
      .select('id')
      .where('kind', '=', 'safety')
      .where('deleted_at', 'is', null)
      .where('created_at', '<', before)
      .execute()
    const operations: OperationId[] = []
    for (const { id } of old) {
      const begun = await unlessBusy(this.deleteVolumeSnapshot(partOf(caller, id), id, { confirm: null }))
      if (begun) operations.push(begun.operation)
    }
    return { operations }
  },
})

/** What somebody else is busy with is left for the next time. */
async function unlessBusy<Value>(begun: Promise<Value>): Promise<Value | null> {
  try {
    return await begun
  } catch (error) {
    if (error instanceof Refusal && ['resourceBusy', 'notFound'].includes(error.code)) return null
    throw error
  }
}

type InstanceRow = Awaited<ReturnType<typeof ownedInstance>>

/** A zero-byte image as Nova makes it for volume-backed servers; its mapping is shown from `snapshot_of`. */
async function insertImage(
  tx: Tx,
  image: ImageId,
  row: InstanceRow,
  request: { name: string; metadata: Labels },
): Promise<void> {
  const { kernelId, ramdiskId, kernelArgs } = row.boot
  const properties = {
    ...(kernelId ? { kernel_id: kernelId } : {}),
    ...(ramdiskId ? { ramdisk_id: ramdiskId } : {}),
    ...(kernelArgs ? { os_command_line: kernelArgs } : {}),
    ...request.metadata,
  }
  await tx
    .insertInto('images')
    .values({
      id: image,
      project_id: row.project_id,
      name: request.name,
      status: 'saving',
      visibility: 'private',
      container_format: null,
      disk_format: null,
      size_bytes: 0,
      virtual_size_bytes: null,
      checksum: null,
      os_hash_algo: null,
      os_hash_value: null,
      properties: JSON.stringify(properties),
      pool_id: null,
      layer_id: null,
      point_id: null,
      instance_id: row.id,
      snapshot_of: null,
      min_disk_gib: Math.ceil(row.flavor.diskGib),
    })
    .execute()
}

const chosenFacts = (disks: Awaited<ReturnType<typeof disksOf>>, volume: VolumeId) => {
  const disk = disks.find((one) => one.volume === volume)
  return disk ? { bootIndex: disk.boot_index, name: disk.name } : {}
}
