/**
 * A new volume: blank, from an image, or from a snapshot. Its layer is an overlay or clone, so it takes the same time at any size.
 *
 *   makeLayer      the layer on the storage                taken back by removing it
 *   volumeReady    (commit)
 *   describeLayer
 */
import { describeLayers } from './parts/catalogue.ts'
import { saga } from './parts/define.ts'
import { makeLayer, type NewVolume, volumeFailed, volumeReady } from './parts/new-volume.ts'

export const createVolume = saga<NewVolume>('create-volume')
  .step('makeLayer', {
    do: ({ params, operation, world }) => makeLayer(world, operation, params),
    undo: ({ params, world }) => world.storage(params.pool).remove(params.layer),
  })
  .commit('volumeReady', ({ params }, tx) => volumeReady(tx, params))
  .finish('describeLayer', ({ params, world }) => describeLayers(world, [{ layer: params.layer }]))
  .afterUndo(({ params }, tx) => volumeFailed(tx, params))
  .build(({ params }) => ({ volume: params.volume }))
