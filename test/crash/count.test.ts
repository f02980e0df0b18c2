import { test } from 'vitest'
import { sagas, type SagaName } from '../../src/sagas/index.ts'
import { makeDatabase } from '../support/database.ts'
import { begin } from '../support/crash/begun.ts'
import { tell, faultsOf, storiesOf, titleOf } from '../support/crash/harness.ts'
import { makeKit, runAll } from '../support/crash/scenario.ts'
import { keepTables } from '../support/crash/tables-state.ts'
import { fixtures } from './fixtures.ts'
test('count', async () => {
  const database = await makeDatabase()
  const base = await makeKit(database, sagas, process.env['SHAPE'] as 'one')
  const restore = await keepTables(database.db, 'base')
  let total = 0
  for (const name of Object.keys(sagas) as SagaName[]) for (const [situation, fixture] of Object.entries(fixtures[name])) {
    try {
    await restore()
    const { begun } = await begin(base, (world) => runAll(database.db, base.claims, sagas, world), database, sagas[name], fixture as never)
    const counts: string[] = []
    for (const story of storiesOf(sagas[name])) {
      if (story.twice) continue
      const t = await tell(begun, database, story).catch((e: unknown) => (counts.push(String(e)), null))
      if (!t) continue
      const n = faultsOf(t.life, story).length
      total += n
      counts.push(`${story.failing}:${n}:${t.ending}`)
    }
    console.log(name, situation, counts.join(' '))
    } catch (e) { console.log(name, situation, String(e)) }
  }
  console.log('TOTAL', total)
}, 400000)
