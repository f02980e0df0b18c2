/** Binds the engine's saga builder to this product's world and transactions. */
import type { Tx } from '../../ports/tables.ts'
import type { World } from '../../ports/world.ts'
import { saga as build, type Saga, type StepContext } from '../engine/define.ts'

export { noUndo } from '../engine/define.ts'

export const saga = <Params extends object>(name: string, version = 1) => build<World, Params, Tx>(name, version)

export type AnySaga = Saga<World, never, Tx>
export type Context<Params, Done = object> = StepContext<World, Params, Done>

/** Runs all at once and waits for all, so that nothing is still running when the first rejection is thrown. */
export async function each<T, R>(items: readonly T[], run: (item: T) => Promise<R>): Promise<R[]> {
  const settled = await Promise.allSettled(items.map(run))
  return settled.map((one) => {
    if (one.status === 'rejected') throw one.reason
    return one.value
  })
}
