/**
 * `comeback recover --from-pools`: makes the database agree with what a pool says of itself, after the database was lost or an
 * older copy of it was restored. Rows are added and moved forward, never back: a volume whose row is as new as its disk stays
 * as it is, and what the database does not know is listed, never deleted.
 *
 *   survey   reads every layer's record         nothing to take back
 *   apply    (commit) rows of layers, points, volumes, snapshots and instance snapshots
 *   describe the storage's records of what was taken back
 */
import type { LayerId, OperationId, PoolId } from '../domain/ids.ts'
import type { Tx } from '../ports/tables.ts'
import { describeLayers } from './parts/catalogue.ts'
import { each, noUndo, saga } from './parts/define.ts'
import { applyImages, applySnapshots } from './parts/recover-names.ts'
import { planRecovery, type RecoveredVolume, type RecoveryPlan } from './parts/recovery-plan.ts'

export type RecoverPoolParams = { readonly pool: PoolId }
export type Recovered = {
  readonly volumesAdded: number
  readonly volumesMoved: number
  readonly snapshotsAdded: number
  readonly problems: readonly string[]
}

export const recoverPool = saga<RecoverPoolParams>('recover-pool')
  .step('survey', {
    do: async ({ params, world }) => planRecovery(params.pool, await world.storage(params.pool).survey()),
    undo: noUndo('it only reads'),
  })
  .commit('apply', async ({ done, operation }, tx) => applyPlan(tx, done.survey, operation))
  .finish('describe', async ({ done, params, world }) => {
    const back = done.survey.volumes.filter(({ unmark }) => unmark !== null)
    await each(back, async ({ head, unmark }) => {
      const record = await world.storage(params.pool).readRecord(head)
      if (record && unmark) await world.storage(params.pool).unmark(head, unmark, { ...record, role: 'head' })
    })
    await describeLayers(
      world,
      done.survey.volumes.map(({ head }) => ({ layer: head })),
    )
  })
  .build(({ done }): Recovered => done.apply)

async function applyPlan(tx: Tx, plan: RecoveryPlan, by: OperationId): Promise<Recovered> {
  await applyLayers(tx, plan)
  let volumesAdded = 0
  let volumesMoved = 0
  const problems = [...plan.problems]
  for (const volume of plan.volumes) {
    const outcome = await applyVolume(tx, plan.pool, volume)
    if (outcome === 'added') volumesAdded += 1
    if (outcome === 'moved') volumesMoved += 1
    if (outcome === 'busy')
      problems.push(`Volume ${volume.id} is busy with an operation and was left alone; run this again when it has ended.`)
  }
  problems.push(...(await missingHeads(tx, plan)))
  const snapshotsAdded = await applySnapshots(tx, plan, by)
  await applyImages(tx, plan)
  await tx.updateTable('pools').set({ ahead_since: null }).where('id', '=', plan.pool).execute()
  return { volumesAdded, volumesMoved, snapshotsAdded, problems }
}

async function applyLayers(tx: Tx, { pool, layers, points }: RecoveryPlan): Promise<void> {
  const existing = new Set(
    (await tx.selectFrom('layers').select('id').where('pool_id', '=', pool).execute()).map(({ id }) => id as string),
  )
  for (const { id, sizeBytes, madeBy } of layers) {
    const row = { id, pool_id: pool, parent_point_id: null, size_bytes: sizeBytes, state: 'present' as const, made_by: madeBy }
    if (!existing.has(id)) await tx.insertInto('layers').values(row).execute()
  }
  for (const { id, layer, sizeBytes, generation } of points) {
    await tx
      .insertInto('points')
      .values({ id, layer_id: layer, size_bytes: sizeBytes, generation })
      .onConflict((conflict) => conflict.column('id').doNothing())
      .execute()
  }
  for (const { id, parent } of layers) {
    await tx
      .updateTable('layers')
      .set({ parent_point_id: parent, state: 'present' })
      .where('id', '=', id)
      .where('state', '<>', 'removing')
      .execute()
  }
}

async function applyVolume(tx: Tx, pool: PoolId, found: RecoveredVolume): Promise<'added' | 'moved' | 'same' | 'busy'> {
  const row = await tx.selectFrom('volumes').selectAll().where('id', '=', found.id).forUpdate().executeTakeFirst()
  const holder = await tx
    .selectFrom('locks')
    .select('operation_id')
    .where('resource', '=', `volume:${found.id}`)
    .executeTakeFirst()
  if (holder) return 'busy'
  if (!row) {
    await requireProject(tx, found.project)
    await tx.insertInto('volumes').values(rowOf(found, pool)).execute()
    return 'added'
  }
  if (row.deleted_at || row.head_layer_id === found.head || found.generation < row.generation) return 'same'
  await tx
    .updateTable('volumes')
    .set({
      head_layer_id: found.head,
      generation: found.generation,
      size_bytes: found.sizeBytes,
      state: 'ready',
      left_clean: false,
      updated_at: new Date(),
    })
    .where('id', '=', found.id)
    .execute()
  return 'moved'
}

const rowOf = (found: RecoveredVolume, pool: PoolId) => ({
  id: found.id,
  project_id: found.project as never,
  user_id: null,
  name: found.name,
  description: 'Recovered from its pool',
  pool_id: pool,
  size_bytes: found.sizeBytes,
  head_layer_id: found.head,
  generation: found.generation,
  state: 'ready' as const,
  bootable: found.bootable,
  image_id: null,
  source_snapshot_id: null,
  source_volume_id: null,
})

/** A project that the database lost too comes back under its id, so that its volumes have an owner. */
async function requireProject(tx: Tx, project: string): Promise<void> {
  await tx
    .insertInto('projects')
    .values({ id: project as never, name: `recovered-${project}`, description: 'Owner of volumes found in a pool' })
    .onConflict((conflict) => conflict.doNothing())
    .execute()
}

/** Volumes that the database has and the pool does not: they were deleted after the copy that was restored was made. */
async function missingHeads(tx: Tx, plan: RecoveryPlan): Promise<string[]> {
  const present = new Set<LayerId>(plan.layers.map(({ id }) => id))
  const rows = await tx
    .selectFrom('volumes')
    .select(['id', 'head_layer_id'])
    .where('pool_id', '=', plan.pool)
    .where('deleted_at', 'is', null)
    .where('state', '=', 'ready')
    .execute()
  const gone = rows.filter(({ head_layer_id }) => !present.has(head_layer_id))
  if (gone.length > 0)
    await tx
      .updateTable('volumes')
      .set({ state: 'error' })
      .where(
        'id',
        'in',
        gone.map(({ id }) => id),
      )
      .execute()
  return gone.map(({ id }) => `Volume ${id} has no disk in its pool: it is in error now, and can be deleted.`)
}
