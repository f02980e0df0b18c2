/** Images: take in what was uploaded, delete. */
import { type LayerId, newId, type PointId, type PoolId } from '../../domain/ids.ts'
import { refuse } from '../../domain/refusals.ts'
import type { DeleteImageParams } from '../../sagas/delete-names.ts'
import type { ImportImageParams } from '../../sagas/import-image.ts'
import { layersOfSnapshots } from '../../sagas/parts/delete-rows.ts'
import { originOf } from '../caller.ts'
import type { Commands } from '../commands.ts'
import { exclusive } from '../locks.ts'
import type { Needs } from '../needs.ts'
import { ownedImage } from '../owned.ts'
import { defaultPool } from './volumes.ts'

type Verbs = Pick<Commands, 'deleteImage' | 'importImage'>

export const imageCommands = (needs: Needs): Verbs => ({
  async importImage(caller, id, upload) {
    const found = await ownedImage(needs.db, caller, id)
    needs.allow(caller, 'upload_image', { project: found.project_id })
    const { id: operation } = await needs.operations.begin<ImportImageParams>({
      kind: 'import-image',
      origin: originOf(caller),
      digestOf: { id },
      plan: async (tx, take, by) => {
        await take(exclusive('image', id))
        const image = await ownedImage(tx, caller, id)
        if (image.status !== 'queued' && image.status !== 'saving')
          throw refuse.imageNotUsable({ id, why: `data was already uploaded; its status is ${image.status}` })
        const pool = await defaultPool(tx)
        const format = diskFormat(image.container_format, image.disk_format)
        const disk = format === null ? null : { layer: newId<LayerId>(), point: newId<PointId>(), format }
        if (disk)
          await tx
            .insertInto('layers')
            .values({ id: disk.layer, pool_id: pool, parent_point_id: null, size_bytes: 0, state: 'making', made_by: by })
            .execute()
        await tx.updateTable('images').set({ status: 'importing', updated_at: new Date() }).where('id', '=', id).execute()
        const { name, sizeBytes, md5, sha512 } = upload
        return { params: { image: id, pool, upload: name, sizeBytes, md5, sha512, disk }, instance: null }
      },
    })
    return { operation }
  },

  async deleteImage(caller, id) {
    const request = { kind: 'delete-image', origin: originOf(caller), digestOf: { id } }
    const before = await needs.operations.startedBefore(request)
    if (before) return { operation: before }
    const found = await ownedImage(needs.db, caller, id)
    needs.allow(caller, 'delete_image', { project: found.project_id })
    const { id: operation } = await needs.operations.begin<DeleteImageParams>({
      ...request,
      plan: async (tx, take) => {
        const made = await tx
          .selectFrom('volume_snapshots')
          .select('id')
          .where('image_id', '=', id)
          .where('deleted_at', 'is', null)
          .execute()
        const snapshots = made.map((row) => row.id)
        await take([...exclusive('snapshot', ...snapshots), ...exclusive('image', id)])
        const image = await ownedImage(tx, caller, id)
        if (image.protected) throw refuse.imageProtected({ id })
        const users = await usersOf(tx, id)
        if (users > 0) throw refuse.inUse({ what: 'Image', id, by: `${users} instances that boot with it` })
        const blobIn: PoolId | null = image.layer_id === null ? image.pool_id : null
        return { params: { image: id, blobIn, snapshots, layers: await layersOfSnapshots(tx, snapshots) }, instance: null }
      },
    })
    return { operation }
  },
})

/** Instances that need this image's kernel or ramdisk at their next start. */
async function usersOf(db: Needs['db'], id: string): Promise<number> {
  const rows = await db.selectFrom('instances').select('boot').where('deleted_at', 'is', null).execute()
  return rows.filter(({ boot }) => boot.kernelId === id || boot.ramdiskId === id).length
}

function diskFormat(container: string | null, disk: string | null): 'raw' | 'qcow2' | null {
  if (container === 'aki' || container === 'ari') return null
  if (container === 'bare' && (disk === 'raw' || disk === 'qcow2')) return disk
  throw refuse.imageDataRefused({
    why: `container format ${container} with disk format ${disk} is not taken; use bare with raw or qcow2, or aki and ari for kernels and ramdisks.`,
  })
}
