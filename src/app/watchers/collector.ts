/**
 * Removes layers that nobody needs any more, whoever owned them, and merges those that nobody wants apart.
 * What to remove and merge is decided by the forest (domain/layers.ts) from the rows, and decided again under locks.
 */
import type { LayerId, PointId, PoolId } from '../../domain/ids.ts'
import { removableLayers } from '../../domain/layer-garbage.ts'
import type { Forest } from '../../domain/layers.ts'
import { endedStates } from '../../domain/operation.ts'
import { Refusal } from '../../domain/refusals.ts'
import type { Operations } from '../../ports/operations.ts'
import type { Db, Tx } from '../../ports/tables.ts'
import { exclusive } from '../locks.ts'
import type { Watcher } from './loop.ts'
import { systemOrigin } from './machines.ts'

export type CollectorNeeds = { readonly db: Db; readonly operations: Operations }

export const collectorWatcher = (needs: CollectorNeeds, everyMs: number): Watcher => ({
  name: 'collector',
  everyMs,
  look: async () => {
    const pools = await needs.db.selectFrom('pools').select('id').execute()
    for (const { id } of pools) await collect(needs, id)
  },
})

/** The forest of a pool as the rows have it. What open operations are making counts as heads: they will say themselves what becomes of it. */
export async function forestOf(db: Db | Tx, pool: PoolId): Promise<Forest> {
  const layers = await db
    .selectFrom('layers')
    .select(['id', 'parent_point_id as parent', 'size_bytes as sizeBytes'])
    .where('pool_id', '=', pool)
    .where('state', '<>', 'removing')
    .execute()
  const points = await db
    .selectFrom('points as p')
    .innerJoin('layers as l', 'l.id', 'p.layer_id')
    .select(['p.id', 'p.layer_id as layer'])
    .where('l.pool_id', '=', pool)
    .execute()
  const heads = await db
    .selectFrom('volumes')
    .select('head_layer_id as id')
    .where('pool_id', '=', pool)
    .where('head_layer_id', 'is not', null)
    .execute()
  const making = await db
    .selectFrom('layers as l')
    .leftJoin('operations as o', 'o.id', 'l.made_by')
    .select('l.id')
    .where('l.pool_id', '=', pool)
    .where('l.state', '=', 'making')
    .where((where) => where.or([where('o.state', 'not in', [...endedStates]), where('o.state', '=', 'quarantined')]))
    .execute()
  const bySnapshot = await db
    .selectFrom('volume_snapshots')
    .select('point_id as id')
    .where('deleted_at', 'is', null)
    .where('point_id', 'is not', null)
    .execute()
  const byImage = await db
    .selectFrom('images')
    .select('point_id as id')
    .where('deleted_at', 'is', null)
    .where('point_id', 'is not', null)
    .execute()
  return {
    layers,
    points,
    heads: new Set<LayerId>([...heads, ...making].map(({ id }) => id)),
    wanted: new Set<PointId>([...bySnapshot, ...byImage].flatMap(({ id }) => id ?? [])),
  }
}

async function collect({ db, operations }: CollectorNeeds, pool: PoolId): Promise<void> {
  const removable = removableLayers(await forestOf(db, pool))
  if (removable.length === 0) return
  await operations
    .begin({
      kind: 'remove-layers',
      origin: systemOrigin(),
      plan: async (tx, take) => {
        await take(exclusive('layer', ...removable))
        const still = new Set(removableLayers(await forestOf(tx, pool)))
        const layers = removable.filter((layer) => still.has(layer))
        if (layers.length === 0) throw new Refusal('nothingToDo', 'conflict', 'Nothing is left to remove.')
        return { params: { pool, layers }, instance: null }
      },
    })
    .catch((error: unknown) => {
      if (!(error instanceof Refusal)) throw error
    })
}
