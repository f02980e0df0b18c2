/**
 * What ended operations have left on the storage because taking it back was given up: locks that still keep a layer, and layers
 * that no row knows. Only what this installation's own operations made, and only once they are done or undone: what is running
 * will say itself what becomes of it, and what is quarantined stays as it lies. Everything else is listed and never touched.
 *
 * A layer is removed when a second look still finds it: its name is then locked with its pool, so that a recovery, which would
 * take it in, waits for its end or goes first. The removal is an operation, and goes on after a crash.
 */
import { sql } from 'kysely'
import type { LayerId, OperationId, PoolId } from '../../domain/ids.ts'
import { Refusal } from '../../domain/refusals.ts'
import type { Log } from '../../ports/log.ts'
import type { Operations } from '../../ports/operations.ts'
import type { FoundLayer, LayerRecord, StorageDriver } from '../../ports/storage-driver.ts'
import type { Db, Tx } from '../../ports/tables.ts'
import type { RemoveLayersParams } from '../../sagas/remove-layers.ts'
import { exclusive } from '../locks.ts'
import type { Watcher } from './loop.ts'
import { systemOrigin } from './machines.ts'

export type LeftoversNeeds = {
  readonly db: Db
  readonly operations: Operations
  readonly log: Log
  readonly storage: (pool: PoolId) => Pick<StorageDriver, 'holders' | 'survey'>
  readonly changing: (pool: PoolId, on: { operation: OperationId; epoch: number }) => Pick<StorageDriver, 'release'>
}

type Recorded = FoundLayer & { readonly record: LayerRecord }

export function leftoversWatcher(needs: LeftoversNeeds, everyMs: number): Watcher {
  const seen = new Map<PoolId, ReadonlySet<LayerId>>()
  const listed = new Map<PoolId, string>()
  return {
    name: 'leftovers',
    everyMs,
    look: async () => {
      const pools = await needs.db.selectFrom('pools').select('id').where('ahead_since', 'is', null).execute()
      for (const { id: pool } of pools) {
        await releaseHolds(needs, pool)
        const unknown = await unknownLayers(needs, pool)
        const left = await leftIn(needs.db, unknown)
        const before = seen.get(pool) ?? new Set()
        seen.set(pool, new Set(left))
        await remove(
          needs,
          pool,
          unknown.filter(({ layer }) => left.includes(layer) && before.has(layer)),
        )
        const others = unknown.map(({ layer }) => layer).filter((layer) => !left.includes(layer))
        if (others.length > 0 && listed.get(pool) !== others.join())
          needs.log.warn({ pool, layers: others }, 'layers that no row knows are left alone')
        listed.set(pool, others.join())
      }
    },
  }
}

async function releaseHolds({ db, storage, changing, log }: LeftoversNeeds, pool: PoolId): Promise<void> {
  const over = await endedOf(db, await storage(pool).holders())
  for (const operation of over) {
    const { rows } = await sql<{ epoch: number }>`select nextval('epochs') as epoch`.execute(db)
    await changing(pool, { operation, epoch: rows[0]!.epoch }).release(operation)
    log.warn({ pool, operation }, 'an ended operation still kept layers locked: released')
  }
}

async function endedOf(db: Db | Tx, operations: readonly OperationId[]): Promise<ReadonlySet<OperationId>> {
  if (operations.length === 0) return new Set()
  const rows = await db
    .selectFrom('operations')
    .select('id')
    .where('id', 'in', operations)
    .where('state', 'in', ['done', 'undone'])
    .execute()
  return new Set(rows.map(({ id }) => id))
}

async function unknownLayers({ db, storage }: LeftoversNeeds, pool: PoolId): Promise<FoundLayer[]> {
  const { layers } = await storage(pool).survey()
  // After the survey: a row is written before its layer is made, so that what is being made now has one.
  const rows = await db.selectFrom('layers').select('id').where('pool_id', '=', pool).execute()
  const known = new Set(rows.map(({ id }) => id))
  const above = new Set(layers.flatMap(({ record, backing }) => [record?.parent?.layer, backing]))
  return layers.filter(({ layer }) => !known.has(layer)).map((one) => (above.has(one.layer) ? { ...one, record: null } : one))
}

/** Those that may go. A layer that something stands on, or that says less than this, may not. */
async function leftIn(db: Db | Tx, unknown: readonly FoundLayer[]): Promise<LayerId[]> {
  const { id: installation } = await db.selectFrom('installation').select('id').executeTakeFirstOrThrow()
  const ours = unknown
    .filter((found): found is Recorded => found.record !== null)
    .filter(({ record }) => record.installation === installation && record.points.length === 0)
    .filter(({ record }) => record.role === 'prepared' || record.role === 'successor' || record.role === 'head')
  const over = await endedOf(
    db,
    ours.map(({ record }) => record.madeBy),
  )
  const left: LayerId[] = []
  for (const { layer, record } of ours) if (over.has(record.madeBy) && !(await isAhead(db, record))) left.push(layer)
  return left
}

/** A layer that knows a later generation of its volume than the rows do was written after them: they are an older copy. */
async function isAhead(db: Db | Tx, { volume }: LayerRecord): Promise<boolean> {
  if (volume === null) return false
  const row = await db.selectFrom('volumes').select('generation').where('id', '=', volume.id).executeTakeFirst()
  return row !== undefined && row.generation < volume.generation
}

/** Rows of layers whose removal was given up, because something still had them open: nobody locks them any more. */
async function givenUp(db: Db, pool: PoolId): Promise<LayerId[]> {
  const rows = await db
    .selectFrom('layers')
    .select('id')
    .where('pool_id', '=', pool)
    .where('state', '=', 'removing')
    .where(sql<boolean>`not exists (select from locks where resource = 'layer:' || layers.id)`)
    .execute()
  return rows.map(({ id }) => id)
}

async function remove({ db, operations, log }: LeftoversNeeds, pool: PoolId, found: readonly FoundLayer[]): Promise<void> {
  const names = [...found.map(({ layer }) => layer), ...(await givenUp(db, pool))]
  if (names.length === 0) return
  await operations
    .begin<RemoveLayersParams>({
      kind: 'remove-layers',
      origin: systemOrigin(),
      plan: async (tx, take) => {
        await take([...exclusive('layer', ...names), ...exclusive('pool', pool)])
        const rows = await tx.selectFrom('layers').select(['id', 'state']).where('id', 'in', names).execute()
        const still = await leftIn(tx, found)
        const left = still.filter((layer) => !rows.some(({ id }) => id === layer))
        const layers = [...left, ...rows.filter(({ state }) => state === 'removing').map(({ id }) => id)]
        if (layers.length === 0 || (await isBehind(tx, pool))) throw new Refusal('nothingToDo', 'conflict', 'Nothing is left.')
        await nameAsGoing(
          tx,
          pool,
          found.filter(({ layer }) => left.includes(layer)),
        )
        log.warn({ pool, layers }, 'layers that ended operations left are removed')
        return { params: { pool, layers }, instance: null }
      },
    })
    .catch((error: unknown) => {
      if (!(error instanceof Refusal)) throw error
    })
}

async function isBehind(tx: Tx, pool: PoolId): Promise<boolean> {
  const row = await tx.selectFrom('pools').select('ahead_since').where('id', '=', pool).executeTakeFirstOrThrow()
  return row.ahead_since !== null
}

/** A row for each, as any layer that goes has one, so that its removal is not forgotten. */
async function nameAsGoing(tx: Tx, pool: PoolId, found: readonly FoundLayer[]): Promise<void> {
  for (const { layer, sizeBytes, record } of found) {
    if (record === null) continue
    const row = { id: layer, pool_id: pool, parent_point_id: null, size_bytes: sizeBytes, made_by: record.madeBy }
    await tx
      .insertInto('layers')
      .values({ ...row, state: 'removing' })
      .execute()
  }
}
