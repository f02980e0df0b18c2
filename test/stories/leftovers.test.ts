/** What operations that have ended left on the storage is found and taken away; everything else stays. */
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../src/adapters/clock.ts'
import { leftoversWatcher } from '../../src/app/watchers/leftovers.ts'
import { type LayerId, newId, type OperationId, type ProjectId } from '../../src/domain/ids.ts'
import type { OperationState } from '../../src/domain/operation.ts'
import type { LayerRecord } from '../../src/ports/storage-driver.ts'
import type { Db } from '../../src/ports/tables.ts'
import { sagas } from '../../src/sagas/index.ts'
import { cloneDatabase } from '../support/database.ts'
import { engineOn } from '../support/engine.ts'
import { memoryPool } from '../support/memory-pool.ts'
import { qcow2Pool } from '../support/qcow2-pool.ts'
import { blockBytes, makeLayer, markPoint, pointRecord, recordOf, volumeFacts } from '../support/storage-fixtures.ts'

const kinds = [
  ['memory, one point a layer', async () => memoryPool('one')],
  ['memory, many', async () => memoryPool('many')],
  ['qcow2', () => qcow2Pool()],
] as const
const size = 4 * blockBytes

async function operationIn(db: Db, state: OperationState): Promise<OperationId> {
  const id = newId<OperationId>()
  const ended = ['done', 'undone', 'quarantined'].includes(state) ? new Date() : null
  await db
    .insertInto('operations')
    .values({ id, kind: 'of-the-test', version: 1, state, params: '{}', request_id: 'req-test', ended_at: ended } as never)
    .execute()
  return id
}

async function storeroom(open: (typeof kinds)[number][1]) {
  const database = await cloneDatabase()
  onTestFinished(database.drop)
  const [{ db }, pool] = [database, await open()]
  onTestFinished(pool.close)
  const { driver } = pool
  const installation = crypto.randomUUID()
  await db.deleteFrom('installation').execute()
  await db.insertInto('installation').values({ id: installation }).execute()
  await db.insertInto('pools').values({ id: driver.pool, name: 'pool', kind: 'qcow2' }).execute()
  const engine = engineOn(database, sagas as never)
  engine.work({ worldFor: () => ({ db, clock: systemClock, storage: () => driver, hosts: () => null }) })
  const { operations, log } = engine
  const needs = { db, operations, log, storage: () => driver, changing: () => driver }
  const watcher = leftoversWatcher(needs, 1000)
  const state = { undone: await operationIn(db, 'undone') }
  return {
    db,
    pool,
    driver,
    log,
    installation,
    /** The watcher looks, and what it began comes to its end. */
    look: async () => {
      await watcher.look(new AbortController().signal)
      const begun = await db.selectFrom('operations').select('id').where('kind', '=', 'remove-layers').execute()
      for (const { id } of begun) await operations.ended(id)
    },
    operation: (wanted: OperationState) => operationIn(db, wanted),
    /** A layer without a row, left by an operation that was undone unless told otherwise. */
    leave: async (says: Partial<LayerRecord> = {}): Promise<LayerId> => {
      const layer = newId<LayerId>()
      const record = { installation, madeBy: state.undone, role: 'prepared' as const, sizeBytes: size, ...says }
      await driver.newLayer(layer, record.parent ?? null, size, recordOf(driver.pool, layer, record))
      return layer
    },
    layers: async () => new Set((await driver.survey()).layers.map(({ layer }) => layer)),
  }
}

describe.each(kinds)('%s', (_name, open) => {
  let room: Awaited<ReturnType<typeof storeroom>>
  beforeEach(async () => {
    room = await storeroom(open)
  })

  test('locks of operations that are done or undone are released, those of all others stay', async () => {
    const { driver, look, operation, pool } = room
    const states: OperationState[] = ['done', 'undone', 'pending', 'running', 'undoing', 'stuck', 'quarantined']
    const holders = new Map<OperationId, OperationState | 'unknown'>([[newId(), 'unknown']])
    for (const state of states) holders.set(await operation(state), state)
    for (const holder of holders.keys()) await driver.hold(holder, [await makeLayer(pool, null, size)])
    await look()
    const kept = (await driver.holders()).map((holder) => holders.get(holder)).sort()
    expect(kept).toEqual(['pending', 'quarantined', 'running', 'stuck', 'undoing', 'unknown'])
    for (const holder of holders.keys()) await driver.release(holder)
  })

  test('a layer that an ended operation made and no row knows goes at the second look', async () => {
    const { layers, leave, look, operation } = room
    const left = [
      await leave(),
      await leave({ role: 'successor' }),
      await leave({ role: 'head', madeBy: await operation('done') }),
    ]
    await look()
    expect(await layers()).toEqual(new Set(left))
    await look()
    expect(await layers()).toEqual(new Set())
    expect(await room.db.selectFrom('layers').select('id').execute()).toEqual([])
  })

  test('any other stays, and is listed once', async () => {
    const { db, driver, layers, leave, look, operation, log, pool } = room
    const known = await leave()
    const row = { parent_point_id: null, size_bytes: size, made_by: newId<OperationId>() }
    await db
      .insertInto('layers')
      .values({ id: known, pool_id: driver.pool, state: 'present', ...row })
      .execute()
    const later = volumeFacts(7)
    await db
      .insertInto('projects')
      .values({ id: 'p' as ProjectId, name: 'p' })
      .execute()
    await db
      .insertInto('volumes')
      .values({ id: later.id, pool_id: driver.pool, size_bytes: size, head_layer_id: known, generation: 6, ...volume })
      .execute()
    const below = await leave()
    const says = await driver.readRecord(below)
    const point = await markPoint(pool, below)
    await driver.describe(says!)
    const others = [
      below,
      await leave({ role: 'frozen' }),
      await leave({ role: 'image' }),
      await leave({ installation: 'another' }),
      await leave({ madeBy: newId() }),
      await leave({ madeBy: await operation('running') }),
      await leave({ madeBy: await operation('quarantined') }),
      await leave({ points: [pointRecord(newId(), size)] }),
      await leave({ role: 'head', volume: later }),
      await leave({ role: 'frozen', parent: point }),
    ]
    for (let looks = 0; looks < 3; looks += 1) await look()
    expect(await layers()).toEqual(new Set([known, ...others]))
    const said = log.lines.filter(({ message }) => message.includes('left alone'))
    expect(said).toHaveLength(1)
    expect(said[0]?.facts).toMatchObject({ layers: expect.arrayContaining(others) })
  })

  test('what somebody has open is removed when it is closed', async () => {
    const { layers, leave, look, pool, db } = room
    const left = await leave()
    const close = await pool.openForWriting(left)
    await look()
    await look()
    expect(await db.selectFrom('layers').select(['id', 'state']).execute()).toEqual([{ id: left, state: 'removing' }])
    await close()
    await look()
    expect(await layers()).toEqual(new Set())
    expect(await db.selectFrom('layers').select('id').execute()).toEqual([])
  })

  test('while the pool is ahead of the database nothing is touched', async () => {
    const { db, driver, layers, leave, look, operation } = room
    const left = await leave()
    const holder = await operation('done')
    await driver.hold(holder, [left])
    await look()
    await db.updateTable('pools').set({ ahead_since: new Date() }).execute()
    await driver.hold(holder, [left])
    await look()
    await look()
    expect(await layers()).toEqual(new Set([left]))
    expect(await driver.holders()).toEqual([holder])
    await driver.release(holder)
  })
})

const volume = {
  project_id: 'p' as ProjectId,
  user_id: null,
  description: null,
  state: 'ready' as const,
  image_id: null,
  source_snapshot_id: null,
  source_volume_id: null,
}
