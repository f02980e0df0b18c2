/** Extending, attaching and detaching a volume: small changes of one volume and at most one machine. */
import type { AttachmentId, Bytes, HostId, InstanceId, LayerId, PoolId, VolumeId } from '../domain/ids.ts'
import type { MachineDisk } from '../ports/host-agent.ts'
import { describeLayers } from './parts/catalogue.ts'
import { noUndo, saga } from './parts/define.ts'
import { opened } from './parts/left-clean.ts'

type Where = { readonly instance: InstanceId; readonly host: HostId; readonly device: string }

export type ExtendVolumeParams = {
  readonly volume: VolumeId
  readonly pool: PoolId
  readonly head: LayerId
  readonly sizeBytes: Bytes
  /** The running machine that has it open. */
  readonly open: Where | null
}

export const extendVolume = saga<ExtendVolumeParams>('extend-volume')
  .step('grow', {
    do: async ({ params: { pool, head, sizeBytes, open }, world }) => {
      if (open) await world.hosts(open.host).resizeDisk(open.instance, open.device, sizeBytes)
      else await world.storage(pool).grow(head, sizeBytes)
    },
    undo: noUndo(
      'a head that is longer than its row says does no harm: what is beyond reads zero, and the next extension makes it so again',
    ),
  })
  .commit('extended', async ({ params: { volume, head, sizeBytes } }, tx) => {
    await tx.updateTable('volumes').set({ size_bytes: sizeBytes, updated_at: new Date() }).where('id', '=', volume).execute()
    await tx.updateTable('layers').set({ size_bytes: sizeBytes }).where('id', '=', head).execute()
  })
  .finish('describeLayer', ({ params, world }) => describeLayers(world, [{ layer: params.head }]))
  .build()

export type AttachVolumeParams = {
  readonly attachment: AttachmentId
  readonly volume: VolumeId
  readonly head: LayerId
  readonly instance: InstanceId
  readonly device: string
  readonly deleteOnTermination: boolean
  readonly tag: string | null
  /** The running machine that is to open it, and how. */
  readonly plug: { readonly host: HostId; readonly disk: MachineDisk } | null
}

export const attachVolume = saga<AttachVolumeParams>('attach-volume')
  .step('plug', {
    do: async ({ params: { plug, instance, volume }, world }) => {
      if (!plug) return
      await opened(world.db, volume)
      await world.hosts(plug.host).attachDisk(instance, plug.disk)
    },
    undo: async ({ params: { plug, instance, device }, world }) => {
      if (plug) await world.hosts(plug.host).detachDisk(instance, device)
    },
  })
  .commit('attached', async ({ params: { attachment: id, instance, volume, device, deleteOnTermination, tag } }, tx) => {
    const row = {
      id,
      instance_id: instance,
      volume_id: volume,
      device,
      boot_index: null,
      delete_on_termination: deleteOnTermination,
      tag,
    }
    await tx.insertInto('attachments').values(row).execute()
  })
  .finish('describeLayer', ({ params, world }) => describeLayers(world, [{ layer: params.head }]))
  .build(({ params }) => ({ attachment: params.attachment, device: params.device }))

export type DetachVolumeParams = {
  readonly volume: VolumeId
  readonly head: LayerId
  readonly instance: InstanceId
  readonly device: string
  readonly plug: { readonly host: HostId; readonly disk: MachineDisk } | null
}

export const detachVolume = saga<DetachVolumeParams>('detach-volume')
  .step('unplug', {
    do: async ({ params: { plug, instance, device }, world }) => {
      if (plug) await world.hosts(plug.host).detachDisk(instance, device)
    },
    undo: async ({ params: { plug, instance }, world }) => {
      if (plug) await world.hosts(plug.host).attachDisk(instance, plug.disk)
    },
  })
  .commit(
    'detached',
    async ({ params }, tx) => void (await tx.deleteFrom('attachments').where('volume_id', '=', params.volume).execute()),
  )
  .finish('describeLayer', ({ params, world }) => describeLayers(world, [{ layer: params.head }]))
  .build()
