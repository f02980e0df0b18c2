/** The engine on real PostgreSQL, with toy sagas: how a run ends, and what becomes of it when things fail. */
import { beforeAll, expect, test } from 'vitest'
import { refuse } from '../../src/domain/refusals.ts'
import type { Tx } from '../../src/ports/tables.ts'
import { noUndo, saga } from '../../src/sagas/engine/define.ts'
import { makeDatabase, type TestDatabase } from '../support/database.ts'
import { type Engine, engineOn, someone } from '../support/engine.ts'

type World = { told: string[]; fail: Record<string, () => unknown> }

/** Says what it does to its world, and fails where that says so. */
const act = async (world: World, what: string): Promise<string> => {
  world.told.push(what)
  await world.fail[what]?.()
  return `${what} went well`
}

const toy = saga<World, { name: string }, Tx>('toy')
  .step('first', { do: ({ world }) => act(world, 'first'), undo: async ({ world }) => void (await act(world, 'undo first')) })
  .step('look', { do: ({ world }) => act(world, 'look'), undo: noUndo('it only looks') })
  .step('second', {
    do: ({ world, done }) => act(world, `second`).then((said) => ({ said, before: done.first })),
    undo: async ({ world }) => void (await act(world, 'undo second')),
  })
  .commit('record', async ({ world }, tx) => {
    await tx.insertInto('installation').values({ id: crypto.randomUUID() }).execute()
    return act(world, 'record')
  })
  .finish('tidy', ({ world }) => act(world, 'tidy'), { attempts: 2 })
  .build(({ params, done }) => ({
    name: params.name,
    said: done.second.said,
    before: done.second.before,
    tidy: done.tidy ?? null,
  }))

let database: TestDatabase
beforeAll(async () => {
  database = await makeDatabase()
})

const begin = ({ operations }: Engine) =>
  operations.begin({ kind: 'toy', origin: someone(), plan: async () => ({ params: { name: 'n' }, instance: null }) })

async function runToy(fail: World['fail'] = {}) {
  const engine = engineOn(database, { toy })
  const world: World = { told: [], fail }
  engine.work({ worldFor: () => world })
  const { id } = await begin(engine)
  return { engine, world, id, operation: await engine.operations.ended(id, AbortSignal.timeout(5_000)) }
}

const recorded = async () => (await database.db.selectFrom('installation').selectAll().execute()).length

test('a saga runs its steps in order and shows its result', async () => {
  const before = await recorded()
  const { world, operation } = await runToy()
  expect(world.told).toEqual(['first', 'look', 'second', 'record', 'tidy'])
  expect(operation).toMatchObject({
    state: 'done',
    result: { name: 'n', said: 'second went well', before: 'first went well', tidy: 'tidy went well' },
    problem: null,
    warnings: [],
  })
  expect(await recorded()).toBe(before + 1)
})

test('a step that refuses is undone, and all before it, last first; the refusal is shown', async () => {
  const { world, operation } = await runToy({
    second: () => {
      throw refuse.poolFull({ pool: 'main' })
    },
  })
  expect(world.told).toEqual(['first', 'look', 'second', 'undo second', 'undo first'])
  expect(operation).toMatchObject({ state: 'undone', problem: { code: 'poolFull' } })
})

test('a commit that fails leaves nothing in the database and the saga goes back', async () => {
  const before = await recorded()
  const { world, operation } = await runToy({ record: () => Promise.reject(refuse.snapshotUnusable()) })
  expect(world.told).toEqual(['first', 'look', 'second', 'record', 'undo second', 'undo first'])
  expect(operation).toMatchObject({ state: 'undone', problem: { code: 'snapshotUnusable' } })
  expect(await recorded()).toBe(before)
})

test('a defect is logged whole and shown as nothing but that', async () => {
  const { engine, operation } = await runToy({ look: () => Promise.reject(new Error('secret of /etc/shadow')) })
  expect(operation.problem?.code).toBe('internal')
  expect(JSON.stringify(operation)).not.toContain('secret')
  expect(engine.log.lines).toContainEqual(
    expect.objectContaining({ level: 'error', facts: expect.objectContaining({ error: new Error('secret of /etc/shadow') }) }),
  )
})

test('a finish that keeps failing becomes a warning of a done operation', async () => {
  const { world, operation } = await runToy({ tidy: () => Promise.reject(refuse.hostFailure({ what: 'no' })) })
  expect(world.told.filter((what) => what === 'tidy')).toHaveLength(2)
  expect(operation).toMatchObject({ state: 'done', result: { tidy: null }, warnings: [{ code: 'hostFailure' }] })
})
