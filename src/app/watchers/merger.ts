/**
 * Keeps chains short: merges layers that no snapshot, image or child wants apart, one merge a pool at a time, in the background.
 * A merge holds the volumes above the layers, and their instances, but gives way to a user's request.
 */
import type { HostId, InstanceId, LayerId, OperationId, PoolId } from '../../domain/ids.ts'
import { rowsAfterMerge } from '../../domain/layer-changes.ts'
import { type PlannedMerge, planMerges } from '../../domain/layer-merges.ts'
import { chainOf, type Forest } from '../../domain/layers.ts'
import { Refusal } from '../../domain/refusals.ts'
import type { Operations } from '../../ports/operations.ts'
import type { StorageAbilities, StorageDriver } from '../../ports/storage-driver.ts'
import type { Db, Tx } from '../../ports/tables.ts'
import type { MergeLayersParams } from '../../sagas/merge-layers.ts'
import { exclusive } from '../locks.ts'
import { forestOf } from './collector.ts'
import type { Watcher } from './loop.ts'
import { systemOrigin } from './machines.ts'

export type MergerNeeds = {
  readonly db: Db
  readonly operations: Operations
  readonly storage: (pool: PoolId) => Pick<StorageDriver, 'allocated' | 'abilities'>
}

export const mergerWatcher = (needs: MergerNeeds, everyMs: number): Watcher => ({
  name: 'merger',
  everyMs,
  look: async (_signal, soon) => {
    const pools = await needs.db.selectFrom('pools').select('id').execute()
    for (const { id } of pools) if (await mergeOne(needs, id)) soon?.()
  },
})

type Writer = {
  readonly head: LayerId
  readonly volume: string
  readonly instance: InstanceId | null
  readonly host: HostId | null
  readonly device: string | null
  readonly state: string | null
}

async function writersIn(db: Db | Tx, pool: PoolId): Promise<Writer[]> {
  return await db
    .selectFrom('volumes as v')
    .leftJoin('attachments as a', 'a.volume_id', 'v.id')
    .leftJoin('instances as i', 'i.id', 'a.instance_id')
    .select(['v.head_layer_id as head', 'v.id as volume', 'i.id as instance', 'i.host_id as host', 'a.device', 'i.state'])
    .where('v.pool_id', '=', pool)
    .where('v.deleted_at', 'is', null)
    .execute()
}

/** What could be merged now, as the rows have it. */
export async function planOf(
  db: Db | Tx,
  abilities: Pick<StorageAbilities, 'pointsPerLayer'>,
  pool: PoolId,
  allocated: Record<LayerId, number>,
  by: OperationId | null = null,
): Promise<{ forest: Forest; writers: Writer[]; merges: PlannedMerge[] }> {
  const forest = await forestOf(db, pool)
  const writers = await writersIn(db, pool)
  const running = new Set(writers.filter(({ state }) => state === 'running').map(({ head }) => head))
  const making = await db.selectFrom('layers').select('id').where('pool_id', '=', pool).where('state', '=', 'making').execute()
  const kept = new Set([...making.map(({ id }) => id), ...(await lockedLayers(db, by))])
  const directions = abilities.pointsPerLayer === 'one' ? (['pull', 'push'] as const) : (['pull'] as const)
  return { forest, writers, merges: planMerges(forest, { allocated, running, kept, directions }) }
}

/** Layers that others have locked: those that a backup is read through must stay as they lie. */
async function lockedLayers(db: Db | Tx, by: OperationId | null): Promise<LayerId[]> {
  const rows = await db
    .selectFrom('locks')
    .select('resource')
    .where('resource', 'like', 'layer:%')
    .$if(by !== null, (query) => query.where('operation_id', '<>', by!))
    .execute()
  return rows.map(({ resource }) => resource.slice('layer:'.length) as LayerId)
}

/** Whether a merge is under way now, and its end worth waiting for: after one that failed the next one takes its time. */
async function mergeOne(needs: MergerNeeds, pool: PoolId): Promise<boolean> {
  const { db, operations } = needs
  const last = await db
    .selectFrom('operations')
    .select(['state', 'ended_at'])
    .where('kind', '=', 'merge-layers')
    .orderBy('ended_at', (order) => order.desc().nullsFirst())
    .executeTakeFirst()
  if (last && last.ended_at === null) return last.state !== 'stuck'
  const layers = await db.selectFrom('layers').select('id').where('pool_id', '=', pool).where('state', '=', 'present').execute()
  const { abilities } = needs.storage(pool)
  const first = await planOf(db, abilities, pool, {})
  if (first.merges.length === 0) return false
  const allocated = await needs.storage(pool).allocated(layers.map(({ id }) => id))
  return await operations
    .begin<MergeLayersParams>({
      kind: 'merge-layers',
      origin: systemOrigin(),
      preemptible: true,
      plan: async (tx, take, by) => {
        const [candidate] = (await planOf(tx, abilities, pool, allocated)).merges
        if (!candidate) throw nothing()
        const above = (await writersIn(tx, pool)).filter(({ head }) =>
          chainOf(first.forest, head).includes(candidate.merge.upper),
        )
        await take(exclusive('instance', ...above.flatMap(({ instance }) => instance ?? [])))
        await take(exclusive('volume', ...above.map(({ volume }) => volume)))
        await take(exclusive('layer', candidate.merge.lower, candidate.merge.upper))
        const { forest, writers, merges } = await planOf(tx, abilities, pool, allocated, by)
        const planned = merges.find(
          ({ merge }) => merge.lower === candidate.merge.lower && merge.upper === candidate.merge.upper,
        )
        const now = writers.filter(({ head }) => chainOf(forest, head).includes(candidate.merge.upper))
        if (!planned || now.length !== above.length) throw nothing()
        return { params: paramsOf(pool, forest, writers, planned), instance: null }
      },
    })
    .then(
      () => last === undefined || last.state === 'done',
      (error: unknown) => {
        if (!(error instanceof Refusal)) throw error
        return false
      },
    )
}

const nothing = () => new Refusal('nothingToDo', 'conflict', 'Nothing is left to merge.')

function paramsOf(
  pool: PoolId,
  forest: Forest,
  writers: readonly Writer[],
  { merge, through }: PlannedMerge,
): MergeLayersParams {
  const machine = writers.find(({ head }) => head === through)
  const open =
    machine?.instance && machine.host && machine.device
      ? { instance: machine.instance, host: machine.host, device: machine.device }
      : null
  const rows = rowsAfterMerge(forest, merge)
  const moved = new Set(rows.movedPoints.map(({ id }) => id))
  const children = forest.layers.filter(({ parent }) => parent !== null && moved.has(parent)).map(({ id }) => id)
  const owner = writers.find(({ head }) => chainOf(forest, head).includes(merge.upper))
  return { pool, merge, through: open, rows, children, volume: (owner?.volume as MergeLayersParams['volume']) ?? null }
}
