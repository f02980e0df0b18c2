/** A step after which the world cannot be taken back: it is proved not to have happened, or the saga goes on until it is done. */
import { setTimeout as wait } from 'node:timers/promises'
import { beforeAll, expect, test } from 'vitest'
import type { OperationId } from '../../src/domain/ids.ts'
import { refuse } from '../../src/domain/refusals.ts'
import { makeDatabase, type TestDatabase } from '../support/database.ts'
import { engineOn, someone } from '../support/engine.ts'
import { brave, type ToyWorld, toyWorld } from '../support/toy-saga.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await makeDatabase()
})

const no = () => Promise.reject(refuse.hostFailure({ what: 'no' }))
const failing = (times: number) => () => (times-- > 0 ? no() : undefined)

async function run(when: (cancel: () => Promise<void>) => ToyWorld['when']) {
  const engine = engineOn(database, { toy: brave })
  let id: OperationId | undefined
  const world = toyWorld(when(() => engine.operations.cancel(id!)))
  const begun = await engine.operations.begin({
    kind: 'toy',
    origin: someone(),
    plan: async () => ({ params: { name: 'n' }, instance: null }),
  })
  id = begun.id
  const worker = engine.work({ worldFor: () => world })
  return { engine, worker, id, world, ended: () => engine.operations.ended(begun.id, AbortSignal.timeout(60_000)) }
}

test('what fails beyond it is stuck for all to see, and repeated until it goes well', async () => {
  let broken = true
  const { engine, id, world, ended } = await run(() => ({ third: () => (broken ? no() : undefined) }))
  await expect.poll(() => world.told.filter((what) => what === 'third').length).toBeGreaterThan(2)
  await expect.poll(() => engine.operations.show(id)).toMatchObject({ state: 'stuck', problem: { code: 'hostFailure' } })
  broken = false
  expect(await ended()).toMatchObject({ state: 'done', problem: null })
  expect(world.told.filter((what) => what !== 'third')).toEqual(['first', 'leap', 'record'])
})

test('a commit beyond it that refuses is repeated too', async () => {
  const { world, ended } = await run(() => ({ record: failing(2) }))
  expect((await ended()).state).toBe('done')
  expect(world.told).toEqual(['first', 'leap', 'third', 'record', 'record', 'record'])
})

test('beyond it nothing is cancelled any more', async () => {
  const { world, ended } = await run((cancel) => ({ third: cancel }))
  expect((await ended()).state).toBe('done')
  expect(world.told).toEqual(['first', 'leap', 'third', 'record'])
})

test('it fails and is proved not to have happened: all is taken back', async () => {
  const { world, ended } = await run(() => ({ leap: no }))
  expect((await ended()).state).toBe('undone')
  expect(world.told).toEqual(['first', 'leap', 'proof', 'undo first'])
})

test('it fails and cannot be proved not to have happened: it is done again, and the saga goes on', async () => {
  const { world, ended } = await run(() => ({ leap: failing(2), proof: no }))
  expect(await ended()).toMatchObject({ state: 'done', problem: null })
  expect(world.told).toEqual(['first', 'leap', 'proof', 'leap', 'leap', 'third', 'record'])
})

test('cancelled while it happens: the proof decides', async () => {
  const cancelled = (cancel: () => Promise<void>) => async (signal: AbortSignal) => {
    await cancel()
    while (!signal.aborted) await wait(5)
    signal.throwIfAborted()
  }
  const back = await run((cancel) => ({ leap: cancelled(cancel) }))
  expect(await back.ended()).toMatchObject({ state: 'undone', problem: { code: 'cancelled' } })
  await back.worker.stop(0) // or it claims the next one

  let first = true
  const on = await run((cancel) => ({
    proof: no,
    leap: async (signal) => {
      if (first) {
        first = false
        await cancelled(cancel)(signal)
      }
    },
  }))
  expect((await on.ended()).state).toBe('done')
  expect(on.world.told).toEqual(['first', 'leap', 'proof', 'leap', 'third', 'record'])
})
