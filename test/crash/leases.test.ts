/** Several controllers on one database: what one loses, another has, and nobody does anything twice. */
import { setTimeout as wait } from 'node:timers/promises'
import { beforeAll, expect, test } from 'vitest'
import type { OperationId } from '../../src/domain/ids.ts'
import type { Claims } from '../../src/ports/journal.ts'
import { makeDatabase, type TestDatabase } from '../support/database.ts'
import { engineOn, someone } from '../support/engine.ts'
import { recordsOf, toy, toyWorld } from '../support/toy-saga.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await makeDatabase()
})

const plan = async () => ({ params: { name: 'n' }, instance: null })
const begin = async ({ operations }: ReturnType<typeof engineOn>): Promise<OperationId> =>
  (await operations.begin({ kind: 'toy', origin: someone(), plan })).id

/** A controller that hangs does not renew, and does not notice either. */
const hanging = (claims: Claims): Claims => ({
  ...claims,
  renew: async () => ({ cancelRequested: false }),
  onDue: () => () => {},
})

test('a controller that hung changes nothing when it wakes, whether the other has ended or not', async () => {
  const engine = engineOn(database, { toy })
  const gate = Promise.withResolvers<void>()
  const asleep = toyWorld({ second: () => gate.promise })
  const id = await begin(engine)
  let claimed = false
  const once = (claims: Claims): Claims => ({
    ...hanging(claims),
    claim: async (known) => (claimed ? [] : claims.claim(known, 1).finally(() => (claimed = true))),
  })
  engine.work({ worldFor: () => asleep, claims: once })
  await expect.poll(() => asleep.told).toContain('second')

  await database.db
    .updateTable('operations')
    .set({ lease_until: new Date(0) })
    .where('id', '=', id)
    .execute()
  const tidied = Promise.withResolvers<void>()
  const awake = toyWorld({ tidy: () => tidied.promise })
  engine.work({ worldFor: () => awake })
  await expect.poll(() => awake.told, { timeout: 20_000 }).toEqual(['second', 'record', 'tidy'])
  gate.resolve()
  await expect
    .poll(() => engine.log.lines.map(({ message }) => message))
    .toContain('operation was taken over by another worker')
  expect(asleep.told).toEqual(['first', 'look', 'second'])

  tidied.resolve()
  expect((await engine.operations.ended(id, AbortSignal.timeout(30_000))).state).toBe('done')
  expect(awake.told).toEqual(['second', 'record', 'tidy'])
  expect(await recordsOf(database.db, id)).toBe(1)
})

test('a controller that cannot renew in time aborts its effects by its own clock', async () => {
  const engine = engineOn(database, { toy })
  const away: Promise<never> = new Promise(() => {})
  const world = toyWorld({ second: (signal) => new Promise((_resolve, reject) => signal.addEventListener('abort', reject)) })
  engine.work({ worldFor: () => world, claims: (claims) => ({ ...claims, renew: () => away }), leaseMs: 200 })
  const id = await begin(engine)
  await expect
    .poll(() => engine.log.lines.map(({ message }) => message))
    .toContain('operation was taken over by another worker')
  expect(await engine.operations.show(id)).toMatchObject({ state: 'running' })
})

test('four controllers, one in three runs hanging past its lease, run 200 operations: each has its effect once', async () => {
  const engine = engineOn(database, { toy })
  const ids = await Promise.all(Array.from({ length: 200 }, () => begin(engine)))
  const slow = { second: () => (Math.random() < 0.3 ? wait(400) : undefined) }
  for (let worker = 0; worker < 4; worker++) {
    engine.work({ worldFor: () => toyWorld(slow), claims: hanging, leaseMs: 250, concurrency: 10, pollMs: 20 })
  }
  const ended = await Promise.all(ids.map((id) => engine.operations.ended(id, AbortSignal.timeout(110_000))))
  expect(new Set(ended.map(({ state }) => state))).toEqual(new Set(['done']))
  expect(await Promise.all(ids.map((id) => recordsOf(database.db, id)))).toEqual(ids.map(() => 1))
  const taken = engine.log.lines.filter(({ message }) => message === 'operation was taken over by another worker')
  expect(taken.length).toBeGreaterThan(10)
})
