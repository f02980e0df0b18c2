/**
 * A new volume: blank, from an image or a snapshot, or from a backup. Its layer is an overlay or clone, which takes the same time
 * at any size; only a backup's content is copied.
 *
 *   makeLayer      the layer on the storage                taken back by removing it
 *   fillLayer      a backup's content, proved whole        goes with the layer
 *   volumeReady    (commit)
 *   describeLayer
 */
import { describeLayers } from './parts/catalogue.ts'
import { noUndo, saga } from './parts/define.ts'
import { type Fill, fillLayer } from './parts/fill.ts'
import { makeLayer, type NewVolume, volumeFailed, volumeReady } from './parts/new-volume.ts'

export type CreateVolumeParams = NewVolume & { readonly fill?: Fill }

export const createVolume = saga<CreateVolumeParams>('create-volume')
  .step('makeLayer', {
    do: ({ params, operation, world }) => makeLayer(world, operation, params),
    undo: ({ params, world }) => world.storage(params.pool).remove(params.layer),
  })
  .step('fillLayer', {
    do: async (step) => {
      const { layer, pool, sizeBytes, fill } = step.params
      return fill ? await fillLayer(step, { layer, pool, sizeBytes, fill }) : null
    },
    undo: noUndo('what was filled is removed with the layer'),
  })
  .commit('volumeReady', ({ params }, tx) => volumeReady(tx, params))
  .finish('describeLayer', ({ params, world }) => describeLayers(world, [{ layer: params.layer }]))
  .afterUndo(({ params }, tx) => volumeFailed(tx, params))
  .build(({ params }) => ({ volume: params.volume }))
