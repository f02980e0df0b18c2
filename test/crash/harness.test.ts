/** The crash tests can fail: each mistake that they are for, made on purpose in a small saga, is found. */
import { beforeAll, describe, expect, test } from 'vitest'
import { type LayerId, newId, type PoolId, type VolumeId } from '../../src/domain/ids.ts'
import { refuse } from '../../src/domain/refusals.ts'
import type { LayerRecord } from '../../src/ports/storage-driver.ts'
import type { World } from '../../src/ports/world.ts'
import type { AnySaga } from '../../src/sagas/engine/run.ts'
import { sagas } from '../../src/sagas/index.ts'
import { noUndo, saga } from '../../src/sagas/parts/define.ts'
import { begin } from '../support/crash/begun.ts'
import { storiesOf, sufferAll, titleOf } from '../support/crash/harness.ts'
import { type Kit, makeKit, runAll } from '../support/crash/scenario.ts'
import { keepTables } from '../support/crash/tables-state.ts'
import { makeDatabase, type TestDatabase } from '../support/database.ts'

type Params = { readonly pool: PoolId; readonly layer: LayerId; readonly volume: VolumeId }

const make = async (world: World, { pool }: Params, layer: LayerId) => {
  const record: LayerRecord = {
    format: 1,
    installation: 'i',
    madeBy: newId(),
    layer,
    pool,
    role: 'prepared',
    parent: null,
    sizeBytes: 512,
    volume: null,
    points: [],
  }
  // Who made it is no part of what is compared here.
  await world.storage(pool).newLayer(layer, null, 512, { ...record, madeBy: '' as LayerRecord['madeBy'] })
}
const remove = (world: World, { pool }: Params, layer: LayerId) => world.storage(pool).remove(layer)
const describeVolume = (db: World['db'], volume: VolumeId, description: string) =>
  db.updateTable('volumes').set({ description }).where('id', '=', volume).execute()

const start = () =>
  saga<Params>('toy').step('make', {
    do: ({ world, params }) => make(world, params, params.layer),
    undo: ({ world, params }) => remove(world, params, params.layer),
  })

const right = start()
  .commit('name', async ({ params }, tx) => void (await describeVolume(tx, params.volume, 'named')))
  .finish('tag', async ({ params, world }) => void (await describeVolume(world.db, params.volume, 'tagged')))
  .build()

const wrong: Record<string, AnySaga> = {
  'an undo that is missing': saga<Params>('toy')
    .step('make', { do: ({ world, params }) => make(world, params, params.layer), undo: noUndo('forgotten') })
    .commit('name', async ({ params }, tx) => void (await describeVolume(tx, params.volume, 'named')))
    .build(),

  'an undo that undoes the wrong thing': saga<Params>('toy')
    .step('make', {
      do: ({ world, params }) => make(world, params, params.layer),
      undo: ({ world, params }) => remove(world, params, newId()),
    })
    .commit('name', async ({ params }, tx) => void (await describeVolume(tx, params.volume, 'named')))
    .build(),

  'an undo that cannot be repeated': saga<Params>('toy')
    .step('make', {
      do: ({ world, params }) => make(world, params, params.layer),
      undo: async ({ world, params }) => {
        if (!(await world.storage(params.pool).readRecord(params.layer))) throw refuse.hostFailure({ what: 'it is gone' })
        await remove(world, params, params.layer)
      },
    })
    .commit('name', async ({ params }, tx) => void (await describeVolume(tx, params.volume, 'named')))
    .build(),

  'a name that is chosen inside the effect': saga<Params>('toy')
    .step('make', {
      do: async ({ world, params }) => {
        const layer = newId<LayerId>()
        await make(world, params, layer)
        return { layer }
      },
      undo: noUndo('nobody knows its name'),
    })
    .commit('name', async ({ params }, tx) => void (await describeVolume(tx, params.volume, 'named')))
    .build(),

  'an effect that cannot be repeated': saga<Params>('toy')
    .step('make', {
      do: async ({ world, params }) => {
        if (await world.storage(params.pool).readRecord(params.layer)) throw refuse.hostFailure({ what: 'it exists' })
        await make(world, params, params.layer)
      },
      undo: ({ world, params }) => remove(world, params, params.layer),
    })
    .commit('name', async ({ params }, tx) => void (await describeVolume(tx, params.volume, 'named')))
    .build(),

  'a commit that touches the world': start()
    .commit('name', async ({ params, world }) => remove(world, params, params.layer))
    .build(),

  'a finish that adds up': start()
    .commit('name', async ({ params }, tx) => void (await describeVolume(tx, params.volume, 'named')))
    .finish('tag', async ({ params, world }) => {
      const { description } = await world.db
        .selectFrom('volumes')
        .select('description')
        .where('id', '=', params.volume)
        .executeTakeFirstOrThrow()
      await describeVolume(world.db, params.volume, `${description}, tagged`)
    })
    .build(),
}

let database: TestDatabase
let base: Kit
let restoreBase: () => Promise<void>

beforeAll(async () => {
  database = await makeDatabase()
  base = await makeKit(database, { ...sagas, toy: right }, 'one')
  restoreBase = await keepTables(database.db, 'base')
})

/** All that the harness has to say of a saga. */
async function complaintsAbout(toy: AnySaga): Promise<string[]> {
  await restoreBase()
  const { begun, asItWas } = await begin(base, (world) => runAll(database.db, base.claims, sagas, world), database, toy, {
    request: ({ operations, pool, things }) =>
      operations.begin({
        kind: 'toy',
        origin: { requestId: newId(), userId: null, projectId: null },
        plan: async (_tx, take) => {
          await take([{ resource: `volume:${things.free}`, mode: 'exclusive' }])
          return { params: { pool, layer: newId<LayerId>(), volume: things.free }, instance: null }
        },
      }),
    assertDone: () => {},
  })
  const complaints: string[] = []
  for (const story of storiesOf(toy)) {
    const found = await sufferAll(begun, database, story, asItWas)
    complaints.push(...found.map((what) => `${titleOf(story)}: ${what}`))
  }
  return complaints
}

test('a saga without mistakes is not complained about', async () => {
  expect(await complaintsAbout(right)).toEqual([])
})

describe('is found:', () => {
  for (const [mistake, toy] of Object.entries(wrong)) {
    test(mistake, async () => {
      expect(await complaintsAbout(toy)).not.toEqual([])
    })
  }
})
