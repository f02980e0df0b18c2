import { beforeAll, describe, expect, test } from 'vitest'
import { type SagaName, sagas } from '../../../src/sagas/index.ts'
import { fixtures } from '../../crash/fixtures.ts'
import { makeDatabase, type TestDatabase } from '../database.ts'
import { begin, withWorld } from './begun.ts'
import { storiesOf, sufferAll, tell, titleOf } from './harness.ts'
import { type Kit, makeKit, type PointsPerLayer, runAll } from './scenario.ts'
import { keepTables } from './tables-state.ts'

/** Every saga, in every situation of its fixture, through all its stories and accidents. */
export function crashSuite(pointsPerLayer: PointsPerLayer): void {
  let database: TestDatabase
  let base: Kit
  let restoreBase: () => Promise<void>

  beforeAll(async () => {
    database = await makeDatabase()
    base = await makeKit(database, sagas, pointsPerLayer)
    restoreBase = await keepTables(database.db, 'base')
  })

  for (const name of Object.keys(sagas).toSorted() as SagaName[]) {
    for (const [situation, { only }] of Object.entries(fixtures[name])) {
      if (only === undefined || only === pointsPerLayer) suffer(name, situation)
    }
  }

  function suffer<Name extends SagaName>(name: Name, situation: string): void {
    describe(`${name} ${situation}`, () => {
      const fixture = fixtures[name][situation]!
      const saga = sagas[name]
      let started: Awaited<ReturnType<typeof begin<Parameters<typeof fixture.assertDone>[1]>>>

      beforeAll(async () => {
        await restoreBase()
        const run = (world: Kit['world']) => runAll(database.db, base.claims, sagas, world)
        started = await begin(base, run, database, saga, fixture)
      })

      test('ends as its owner wants it', async () => {
        const { begun, asItWas, params } = started
        const told = await tell(begun, database, { failing: null, twice: false })
        expect(told).toMatchObject({ ending: 'done', warnings: 0 })
        await fixture.assertDone(withWorld(begun.kit, told.world), params)
        expect(asItWas.tables.locks.size).toBe(0)
      })

      for (const story of storiesOf(saga)) {
        test(titleOf(story), async () => {
          const { begun, asItWas } = started
          expect(await sufferAll(begun, database, story, asItWas)).toEqual([])
        })
      }
    })
  }
}
