/**
 * Deletes volumes, snapshots and images: names go in one transaction, what they named goes in the background when nothing
 * needs it. So a deletion never waits for storage, and never harms another snapshot, clone or machine.
 */
import type { ImageId, LayerId, PoolId, SnapshotId, VolumeId } from '../domain/ids.ts'
import { describeLayers } from './parts/catalogue.ts'
import { saga } from './parts/define.ts'
import { deleteSnapshotRow, deleteVolumeRows } from './parts/delete-rows.ts'

type Described = readonly { readonly layer: LayerId; readonly volume: VolumeId }[]

export type DeleteVolumeParams = { readonly volume: VolumeId }
export const deleteVolume = saga<DeleteVolumeParams>('delete-volume')
  .commit('deleteRows', ({ params }, tx) => deleteVolumeRows(tx, params.volume))
  .build()

export type DeleteSnapshotsParams = { readonly snapshots: readonly SnapshotId[]; readonly layers: Described }
export const deleteSnapshots = saga<DeleteSnapshotsParams>('delete-snapshots')
  .commit('deleteRows', async ({ params }, tx) => {
    for (const snapshot of params.snapshots) await deleteSnapshotRow(tx, snapshot)
  })
  .finish('describeLayers', ({ params, world }) => describeLayers(world, params.layers))
  .build()

/** `blobIn`: pool that keeps a kernel or ramdisk of this image. `snapshots`: those that an instance snapshot made. */
export type DeleteImageParams = DeleteSnapshotsParams & { readonly image: ImageId; readonly blobIn: PoolId | null }
export const deleteImage = saga<DeleteImageParams>('delete-image')
  .commit('deleteRows', async ({ params }, tx) => {
    for (const snapshot of params.snapshots) await deleteSnapshotRow(tx, snapshot)
    const now = new Date()
    await tx
      .updateTable('images')
      .set({ status: 'deleted', layer_id: null, point_id: null, deleted_at: now, updated_at: now })
      .where('id', '=', params.image)
      .execute()
  })
  .finish('describeLayers', ({ params, world }) => describeLayers(world, params.layers))
  .finish('removeBlob', async ({ params, world }) => {
    if (params.blobIn) await world.storage(params.blobIn).removeBlob(params.image)
  })
  .build()
