/** How deep a line of layers may get: reads slow down with depth (measured: 20 deep costs 13–41 % of 4k reads, 50 two thirds). */
import type { LayerId } from '../domain/ids.ts'
import { refuse } from '../domain/refusals.ts'
import type { Db, Tx } from '../ports/tables.ts'
import { chainOf } from '../sagas/parts/machine.ts'

export const warnDepth = 32
export const maxDepth = 64

export async function requireShortChain(db: Db | Tx, volume: string, head: LayerId): Promise<number> {
  const depth = (await chainOf(db, head)).length
  if (depth >= maxDepth) throw refuse.chainTooLong({ id: volume, depth })
  return depth
}
