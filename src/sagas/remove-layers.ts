/**
 * Removes layers that nothing needs any more. Which ones is decided under locks by the forest (domain/layers.ts); the rows say
 * `removing` before a file goes, so that a crash in between leaves work to finish, never a row without its file.
 */
import type { LayerId, PoolId } from '../domain/ids.ts'
import { each, saga } from './parts/define.ts'

export type RemoveLayersParams = { readonly pool: PoolId; readonly layers: readonly LayerId[] }

export const removeLayers = saga<RemoveLayersParams>('remove-layers')
  .commit('markRemoving', async ({ params }, tx) => {
    await tx.updateTable('layers').set({ state: 'removing', parent_point_id: null }).where('id', 'in', params.layers).execute()
    await tx.deleteFrom('points').where('layer_id', 'in', params.layers).execute()
  })
  .finish('removeFromStorage', async ({ params, world }) => {
    await each(params.layers, (layer) => world.storage(params.pool).remove(layer))
    return true
  })
  .finish('forget', async ({ params, done, world }) => {
    if (done.removeFromStorage === undefined) return
    await world.db.deleteFrom('layers').where('id', 'in', params.layers).where('state', '=', 'removing').execute()
  })
  .build()
