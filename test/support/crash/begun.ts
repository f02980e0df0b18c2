/** Brings a fixture to the moment in which its operation was begun and nothing of it was done yet. */
import { expect } from 'vitest'
import type { AnySaga } from '../../../src/sagas/engine/run.ts'
import type { TestDatabase } from '../database.ts'
import type { Begun, State } from './harness.ts'
import type { MemoryWorld } from './memory-world.ts'
import type { Kit, PointsPerLayer } from './scenario.ts'
import { keepTables, readTables } from './tables-state.ts'

/** What the crash tests need to know of one saga. */
export type SagaFixture<Params> = {
  /** Where only one shape of storage comes into this situation. */
  readonly only?: PointsPerLayer
  /** What there is before the request, beside the scenario. */
  readonly prepare?: (kit: Kit) => Promise<void>
  /** The request: begins the operation as the product does. */
  readonly request: (kit: Kit) => Promise<unknown>
  /** What the request itself has written and going back sets right in another way than by taking it away. */
  readonly asItWas?: (state: State, params: Params, kit: Kit) => void | Promise<void>
  /** What must hold when it is done. */
  readonly assertDone: (kit: Kit, params: Params) => void | Promise<void>
}

export const withWorld = (kit: Kit, world: MemoryWorld): Kit => {
  const disk = world.pools.get(kit.pool)!
  return { ...kit, world, disk, contentOf: async (volume) => disk.read(await kit.headOf(volume)) }
}

export async function begin<Params>(
  base: Kit,
  rerun: (world: MemoryWorld) => Promise<void>,
  database: TestDatabase,
  saga: AnySaga,
  fixture: SagaFixture<Params>,
): Promise<{ begun: Begun; asItWas: State; params: Params }> {
  const world = base.world.copy()
  const kit: Kit = { ...withWorld(base, world), run: async (first) => first?.then(() => rerun(world)) ?? rerun(world) }
  await fixture.prepare?.(kit)
  await fixture.request(kit)
  const open = await database.db.selectFrom('operations').selectAll().where('ended_at', 'is', null).execute()
  expect(open.map(({ kind }) => kind)).toEqual([saga.name])
  const { id: operation, params } = open[0]!
  const restore = await keepTables(database.db, 'begun')
  const tables = await readTables(database.db)
  tables.locks.clear()
  const asItWas: State = structuredClone({ tables, world: world.state() })
  await fixture.asItWas?.(asItWas, params as Params, kit)
  return { begun: { kit, saga, operation, world, restore }, asItWas, params: params as Params }
}
