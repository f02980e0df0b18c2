/**
 * A new instance. Its disks are volumes: new ones, or existing ones that the request attached in its transaction.
 *
 *   makeLayers       a layer for each new volume              taken back by removing them
 *   volumesReady     (commit) from here on the volumes are there, whatever becomes of the machine
 *   describeLayers
 *   startMachine
 *   settle           running, or in error with its volumes kept
 */
import type { HostId, InstanceId, VolumeId } from '../domain/ids.ts'
import { describeLayers } from './parts/catalogue.ts'
import { each, saga } from './parts/define.ts'
import { setInstanceState } from './parts/instance-state.ts'
import { startMachine } from './parts/machine.ts'
import { makeLayer, type NewVolume, volumeFailed, volumeReady } from './parts/new-volume.ts'

export type CreateInstanceParams = {
  readonly instance: InstanceId
  readonly host: HostId
  readonly volumes: readonly NewVolume[]
  readonly attached: readonly VolumeId[]
}

export const createInstance = saga<CreateInstanceParams>('create-instance')
  .step('makeLayers', {
    do: async ({ params, operation, world }) =>
      void (await each(params.volumes, (volume) => makeLayer(world, operation, volume))),
    undo: async ({ params, world }) =>
      void (await each(params.volumes, ({ pool, layer }) => world.storage(pool).remove(layer))),
  })
  .commit('volumesReady', async ({ params }, tx) => {
    for (const volume of params.volumes) await volumeReady(tx, volume)
    await setInstanceState(tx, params.instance, 'stopped')
  })
  .finish('describeLayers', ({ params, world }) => describeLayers(world, params.volumes))
  .finish('startMachine', async ({ params, world }) => {
    await startMachine(world, params.instance)
    return true
  })
  .finish('settle', async ({ params, done, world }) => {
    if (done.startMachine) await setInstanceState(world.db, params.instance, 'running')
    else
      await setInstanceState(
        world.db,
        params.instance,
        'error',
        'The machine could not be started. Its disks are kept: try to start it.',
      )
  })
  .afterUndo(async ({ params }, tx) => {
    for (const volume of params.volumes) await volumeFailed(tx, volume)
    await setInstanceState(tx, params.instance, 'error', 'Its disks could not be made. Delete it and try again.')
  })
  .build(({ params, done }) => ({ instance: params.instance, powerState: done.startMachine ? 'on' : 'off' }))
