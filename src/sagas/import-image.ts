/**
 * Takes in what a client uploaded: a disk becomes a frozen layer that volumes are made from, a kernel or ramdisk a blob.
 * The storage proves first that the data is what it says.
 *
 *   takeIn          layer or blob                 taken back by removing it
 *   imageActive     (commit)
 *   describeLayer
 *   discardUpload
 */
import type { Bytes, ImageId, LayerId, OperationId, PointId, PoolId } from '../domain/ids.ts'
import type { LayerRecord } from '../ports/storage-driver.ts'
import type { World } from '../ports/world.ts'
import { describeLayers, forgetLayers, installationOf } from './parts/catalogue.ts'
import { saga } from './parts/define.ts'

export type ImportImageParams = {
  readonly image: ImageId
  readonly pool: PoolId
  readonly upload: string
  readonly sizeBytes: Bytes
  readonly md5: string
  readonly sha512: string
  /** Null: a kernel or ramdisk. */
  readonly disk: { readonly layer: LayerId; readonly point: PointId; readonly format: 'raw' | 'qcow2' } | null
}

export const importImage = saga<ImportImageParams>('import-image')
  .step('takeIn', {
    do: async ({ params, operation, world }) => {
      const storage = world.storage(params.pool)
      if (params.disk)
        return storage.importUpload(
          params.disk.layer,
          params.upload,
          params.disk.format,
          await recordFor(world, params, operation),
        )
      await storage.adoptBlob(params.image, params.upload)
      return { sizeBytes: params.sizeBytes }
    },
    undo: async ({ params, world }) => {
      const storage = world.storage(params.pool)
      if (params.disk) await storage.remove(params.disk.layer)
      else await storage.removeBlob(params.image)
      await storage.discardUpload(params.upload)
    },
  })
  .commit('imageActive', async ({ params, done }, tx) => {
    const { disk, image } = params
    const sizeBytes = done.takeIn.sizeBytes
    if (disk) {
      await tx.updateTable('layers').set({ state: 'present', size_bytes: sizeBytes }).where('id', '=', disk.layer).execute()
      await tx
        .insertInto('points')
        .values({ id: disk.point, layer_id: disk.layer, size_bytes: sizeBytes, generation: 0 })
        .execute()
    }
    await tx
      .updateTable('images')
      .set({
        status: 'active',
        size_bytes: params.sizeBytes,
        virtual_size_bytes: disk ? sizeBytes : null,
        checksum: params.md5,
        os_hash_algo: 'sha512',
        os_hash_value: params.sha512,
        pool_id: params.pool,
        layer_id: disk?.layer ?? null,
        point_id: disk?.point ?? null,
        updated_at: new Date(),
      })
      .where('id', '=', image)
      .execute()
  })
  .finish('describeLayer', async ({ params, world }) => {
    if (params.disk) await describeLayers(world, [{ layer: params.disk.layer }])
  })
  .finish('discardUpload', ({ params, world }) => world.storage(params.pool).discardUpload(params.upload))
  .afterUndo(async ({ params }, tx) => {
    if (params.disk) await forgetLayers(tx, [params.disk.layer])
    await tx.updateTable('images').set({ status: 'queued', updated_at: new Date() }).where('id', '=', params.image).execute()
  })
  .build(({ params, done }) => ({ image: params.image, sizeBytes: done.takeIn.sizeBytes }))

async function recordFor(
  world: World,
  { disk, pool, sizeBytes }: ImportImageParams,
  madeBy: OperationId,
): Promise<LayerRecord> {
  if (!disk) throw new Error('a blob has no layer record')
  const installation = await installationOf(world.db)
  return {
    format: 1,
    installation,
    madeBy,
    layer: disk.layer,
    pool,
    role: 'prepared',
    parent: null,
    sizeBytes,
    volume: null,
    points: [{ point: disk.point, generation: 0, sizeBytes, snapshots: [] }],
  }
}
