/**
 * Merges two layers that nobody wants apart, in the background, giving way to whatever a user asks for. Which two and in which
 * direction is decided by the forest (domain/layer-merges.ts).
 *
 * A merge cut short reads the same from above, and the next one goes on from where it stopped. One that happened is seen from the
 * upper layer, which does not stand upon the lower one any more, or from a machine that writes the lower one; the rows must
 * follow. The storage ends what a machine began that has ended since.
 *
 *   merge           the storage, or the QEMU that has them open      cannot be: looks, and goes on if it happened
 *   moveRows        (commit) heads, points and children follow the file that is left
 *   removeGone      the file that is not needed any more
 *   describeLayers
 */
import type { Bytes, HostId, InstanceId, LayerId, PointId, PoolId, VolumeId } from '../domain/ids.ts'
import type { MergedRows } from '../domain/layer-changes.ts'
import type { Merge } from '../domain/layer-merges.ts'
import { refuse } from '../domain/refusals.ts'
import type { Tx } from '../ports/tables.ts'
import { describeLayers } from './parts/catalogue.ts'
import { saga } from './parts/define.ts'

export type MergeLayersParams = {
  readonly pool: PoolId
  readonly merge: Merge
  /** The running machine that has the layers open; null: nobody has. */
  readonly through: { readonly instance: InstanceId; readonly host: HostId; readonly device: string } | null
  readonly rows: {
    readonly gone: LayerId
    readonly left: { readonly id: LayerId; readonly parent: PointId | null; readonly sizeBytes: Bytes }
  } & Omit<MergedRows, 'left' | 'gone'>
  /** Layers made from points that move to another file. */
  readonly children: readonly LayerId[]
  /** Volume that wrote the layers last, for their records. */
  readonly volume: VolumeId | null
}

export const mergeLayers = saga<MergeLayersParams>('merge-layers')
  .step('merge', {
    do: async ({ params: { pool, merge, through }, world, signal }) => {
      const machine = through && (await world.hosts(through.host).machine(through.instance))
      if (through === null || machine?.state === 'off') return world.storage(pool).merge(merge)
      await world.hosts(through.host).mergeLive(through.instance, through.device, pool, merge, signal)
    },
    undo: async ({ params: { pool, merge, through }, world }) => {
      const { layers } = await world.storage(pool).survey()
      const machine = through && (await world.hosts(through.host).machine(through.instance))
      const isApart = layers.find(({ layer }) => layer === merge.upper)?.backing === merge.lower
      if (!isApart || machine?.heads[through?.device ?? ''] === merge.lower)
        throw refuse.hostFailure({ what: `layers ${merge.lower} and ${merge.upper} are merged already` })
    },
    pointOfNoReturn: true,
  })
  .commit('moveRows', ({ params }, tx) => moveRows(tx, params))
  .finish('removeGone', async ({ params: { pool, rows }, world }) => {
    await world.storage(pool).remove(rows.gone)
    await world.db.deleteFrom('layers').where('id', '=', rows.gone).where('state', '=', 'removing').execute()
  })
  .finish('describeLayers', async ({ params: { rows, children, volume }, world }) => {
    const left = volume === null ? { layer: rows.left.id } : { layer: rows.left.id, volume }
    await describeLayers(world, [left, ...children.map((layer) => ({ layer }))])
  })
  .build(({ params }) => ({ gone: params.rows.gone, left: params.rows.left.id }))

async function moveRows(
  tx: Tx,
  { rows: { gone, left, lostPoints, movedPoints, movedHead } }: MergeLayersParams,
): Promise<void> {
  for (const { id, layer } of movedPoints)
    await tx.updateTable('points').set({ layer_id: layer }).where('id', '=', id).execute()
  if (movedHead) {
    await tx
      .updateTable('volumes')
      .set({ head_layer_id: movedHead.to, updated_at: new Date() })
      .where('head_layer_id', '=', movedHead.from)
      .execute()
  }
  await tx.updateTable('layers').set({ state: 'removing', parent_point_id: null }).where('id', '=', gone).execute()
  await tx
    .updateTable('layers')
    .set({ parent_point_id: left.parent, size_bytes: left.sizeBytes })
    .where('id', '=', left.id)
    .execute()
  if (lostPoints.length > 0) {
    await tx.updateTable('volume_snapshots').set({ point_id: null }).where('point_id', 'in', lostPoints).execute()
    await tx.deleteFrom('points').where('id', 'in', lostPoints).execute()
  }
}
