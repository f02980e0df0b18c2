/** The engine on real PostgreSQL, with a toy saga: how a run ends, and what becomes of it when things fail. */
import { beforeAll, expect, test } from 'vitest'
import { newId, type OperationId } from '../../src/domain/ids.ts'
import type { Operation } from '../../src/domain/operation.ts'
import { refuse } from '../../src/domain/refusals.ts'
import { makeDatabase, type TestDatabase } from '../support/database.ts'
import { type Engine, engineOn, someone } from '../support/engine.ts'
import { recordsOf, type ToyWorld, toy, toyWorld } from '../support/toy-saga.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await makeDatabase()
})

const no = (refusal: Error) => () => Promise.reject(refusal)
const unreachable = refuse.hostUnreachable({ host: 'h1' })

/** Fails so many times, then goes well. */
const failing = (times: number, error: Error) => () => (times-- > 0 ? Promise.reject(error) : Promise.resolve())

const begin = async ({ operations }: Engine): Promise<OperationId> => {
  const resource = `volume:${newId()}` as const
  const { id } = await operations.begin({
    kind: 'toy',
    origin: someone(),
    plan: async (_tx, take) => {
      await take([{ resource, mode: 'exclusive' }])
      return { params: { name: 'n' }, instance: null }
    },
  })
  return id
}

const ended = ({ operations }: Engine, id: OperationId): Promise<Operation> => operations.ended(id, AbortSignal.timeout(60_000))

const locksOf = (id: OperationId) => database.db.selectFrom('locks').selectAll().where('operation_id', '=', id).execute()

async function runToy(when: ToyWorld['when'] = {}) {
  const engine = engineOn(database, { toy })
  const world = toyWorld(when)
  engine.work({ worldFor: () => world })
  const id = await begin(engine)
  const operation = await ended(engine, id)
  expect(await locksOf(id)).toEqual([])
  return { engine, world, id, operation, records: await recordsOf(database.db, id) }
}

test('a saga runs its steps in order and shows its result', async () => {
  const { world, operation, records } = await runToy()
  expect(world.told).toEqual(['first', 'look', 'second', 'record', 'tidy'])
  expect(operation).toMatchObject({
    state: 'done',
    result: { name: 'n', said: 'second went well', before: 'first went well', tidy: 'tidy went well' },
    problem: null,
    warnings: [],
  })
  expect(records).toBe(1)
})

test('a step that refuses is undone, and all before it, last first; the refusal is shown', async () => {
  const { world, operation } = await runToy({ second: no(refuse.poolFull({ pool: 'main' })) })
  expect(world.told).toEqual(['first', 'look', 'second', 'undo second', 'undo first', 'after undo'])
  expect(operation).toMatchObject({ state: 'undone', problem: { code: 'poolFull' }, result: null })
})

test('a commit that fails leaves nothing in the database, and the saga goes back', async () => {
  const { world, operation, records } = await runToy({ record: no(refuse.snapshotUnusable()) })
  expect(world.told).toEqual(['first', 'look', 'second', 'record', 'undo second', 'undo first', 'after undo'])
  expect(operation).toMatchObject({ state: 'undone', problem: { code: 'snapshotUnusable' } })
  expect(records).toBe(0)
})

test('a defect is logged whole, and shown as nothing but that', async () => {
  const { engine, operation } = await runToy({ look: no(new Error('secret of /etc/shadow')) })
  expect(operation.problem?.code).toBe('internal')
  expect(JSON.stringify(operation)).not.toContain('secret')
  expect(engine.log.lines).toContainEqual(
    expect.objectContaining({ level: 'error', facts: expect.objectContaining({ err: new Error('secret of /etc/shadow') }) }),
  )
})

test('a finish that keeps failing becomes a warning of a done operation', async () => {
  const { world, operation } = await runToy({ tidy: no(refuse.hostFailure({ what: 'no' })) })
  expect(world.told.filter((what) => what === 'tidy')).toHaveLength(2)
  expect(operation).toMatchObject({ state: 'done', result: { tidy: null }, warnings: [{ code: 'hostFailure' }] })
})

test('a finish waits longer for a host that is away than its own attempts', async () => {
  const { world, operation } = await runToy({ tidy: failing(4, unreachable) })
  expect(world.told.filter((what) => what === 'tidy')).toHaveLength(5)
  expect(operation).toMatchObject({ state: 'done', result: { tidy: 'tidy went well' }, warnings: [] })
})

test('a step whose outcome is unknown is repeated until it is known', async () => {
  const { world, operation } = await runToy({ second: failing(2, unreachable) })
  expect(world.told).toEqual(['first', 'look', 'second', 'second', 'second', 'record', 'tidy'])
  expect(operation.state).toBe('done')
})

test('a step whose outcome stays unknown is taken back after some attempts', async () => {
  const { world, operation } = await runToy({ second: no(unreachable) })
  expect(world.told).toEqual(['first', 'look', 'second', 'second', 'second', 'undo second', 'undo first', 'after undo'])
  expect(operation).toMatchObject({ state: 'undone', problem: { code: 'hostUnreachable' } })
})

test('an undo that fails leaves it stuck with its locks, and is tried again until it goes well', async () => {
  const engine = engineOn(database, { toy })
  let broken = true
  const world = toyWorld({
    second: no(refuse.poolFull({ pool: 'main' })),
    'undo second': () => (broken ? Promise.reject(unreachable) : undefined),
  })
  engine.work({ worldFor: () => world })
  const id = await begin(engine)
  await expect.poll(() => world.told.filter((what) => what === 'undo second').length).toBeGreaterThan(3)
  await expect.poll(() => engine.operations.show(id)).toMatchObject({ state: 'stuck', problem: { code: 'hostUnreachable' } })
  expect(await locksOf(id)).toHaveLength(1)
  expect(world.told).not.toContain('undo first')
  broken = false
  expect(await ended(engine, id)).toMatchObject({ state: 'undone', problem: { code: 'poolFull' } })
  expect(world.told.slice(-2)).toEqual(['undo first', 'after undo'])
})

test('what an undone operation must set right in the database stands or falls with its end', async () => {
  const { world, operation, records } = await runToy({
    second: no(refuse.poolFull({ pool: 'main' })),
    'after undo': failing(1, new Error('not yet')),
  })
  expect(world.told.slice(-3)).toEqual(['undo first', 'after undo', 'after undo'])
  expect(operation.state).toBe('undone')
  expect(records).toBe(1) // written by afterUndo, once
})

test('cancelled in a step: the effect is told, and all is taken back', async () => {
  const engine = engineOn(database, { toy })
  const world = toyWorld({ second: (signal) => new Promise((_resolve, reject) => signal.addEventListener('abort', reject)) })
  engine.work({ worldFor: () => world })
  const id = await begin(engine)
  await expect.poll(() => world.told).toContain('second')
  await engine.operations.cancel(id)
  expect(await ended(engine, id)).toMatchObject({ state: 'undone', problem: { code: 'cancelled' } })
  expect(world.told.slice(-3)).toEqual(['undo second', 'undo first', 'after undo'])
})

test('cancelled before anybody claimed it: nothing is done', async () => {
  const engine = engineOn(database, { toy })
  const id = await begin(engine)
  await engine.operations.cancel(id)
  const world = toyWorld()
  engine.work({ worldFor: () => world })
  expect((await ended(engine, id)).state).toBe('undone')
  expect(world.told).toEqual(['after undo'])
})

test('after the commit nothing is cancelled any more', async () => {
  const engine = engineOn(database, { toy })
  const world = toyWorld({ tidy: (signal) => engine.operations.cancel(id).then(() => expect(signal.aborted).toBe(false)) })
  engine.work({ worldFor: () => world })
  const id = await begin(engine)
  expect(await ended(engine, id)).toMatchObject({ state: 'done', warnings: [] })
})

test('a controller that shuts down in a step leaves no trace of failure, and another goes on', async () => {
  const engine = engineOn(database, { toy })
  let patient = true
  const world = toyWorld({
    second: (signal) =>
      patient ? new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(unreachable))) : undefined,
  })
  const first = engine.work({ worldFor: () => world, leaseMs: 60_000 })
  const id = await begin(engine)
  await expect.poll(() => world.told).toContain('second')
  patient = false
  await first.stop(50)
  engine.work({ worldFor: () => world })
  expect(await ended(engine, id)).toMatchObject({ state: 'done', problem: null, warnings: [] })
  expect(world.told).toEqual(['first', 'look', 'second', 'second', 'record', 'tidy'])
})

test('the connection to the database breaks in the commit: the run ends there, and is taken up when its lease ends', async () => {
  const engine = engineOn(database, { toy })
  let attempt = 0
  const world = toyWorld({ record: () => (attempt++ === 0 ? loseConnections() : undefined) })
  engine.work({ worldFor: () => world, leaseMs: 300 })
  const id = await begin(engine)
  expect(await ended(engine, id)).toMatchObject({ state: 'done', warnings: [] })
  expect(world.told).toEqual(['first', 'look', 'second', 'record', 'record', 'tidy'])
  expect(await recordsOf(database.db, id)).toBe(1)
})

test('words that PostgreSQL cannot store do not stop an operation', async () => {
  const { operation } = await runToy({ second: no(refuse.hostFailure({ what: 'a\0b\ud800c' })) })
  expect(operation.problem?.message).toBe('The host could not do it: ab\ufffdc')
})

test('an operation of a version that is not known here is left alone', async () => {
  const engine = engineOn(database, { toy: { ...toy, version: 2 } })
  const id = await begin(engine)
  const older = engineOn(database, { toy })
  older.work()
  await new Promise((resolve) => setTimeout(resolve, 200))
  expect(await engine.operations.show(id)).toMatchObject({ state: 'pending' })
  engine.work({ worldFor: () => toyWorld() })
  expect((await ended(engine, id)).state).toBe('done')
})

test('its events tell the story in order', async () => {
  const { engine, id } = await runToy({ second: no(refuse.poolFull({ pool: 'main' })) })
  const told: string[] = []
  const enough = new AbortController()
  for await (const { type, data } of engine.operations.events({ operation: id, after: 0 }, enough.signal)) {
    told.push(type === 'step' ? `${data['step']} ${data['state']}` : type)
    if (type === 'ended') enough.abort()
  }
  expect(told).toEqual([
    'created',
    'claimed',
    'first started',
    'first done',
    'look started',
    'look done',
    'second started',
    'progress',
    'second failed',
    'second undoing',
    'second undone',
    'first undoing',
    'first undone',
    'ended',
  ])
})

async function loseConnections(): Promise<void> {
  await database.pool.query(
    'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()',
  )
}
