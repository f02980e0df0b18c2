/** Merges in memory: the same results that the real drivers reach by copying. */
import type { LayerId } from '../../../domain/ids.ts'
import { refuse } from '../../../domain/refusals.ts'
import type { Merge } from '../../../ports/storage-driver.ts'
import { recordAfterPull, recordAfterPush, recordOfMovedChild } from '../merged-records.ts'
import { type Blocks, blockBytes, type Layers, type MemoryLayer } from './state.ts'

const within = (blocks: Blocks, bytes: number): Blocks =>
  new Map([...blocks].filter(([block]) => block < Math.ceil(bytes / blockBytes)))

/** `upper` and its points take over what shows through from `lower`. */
function pull(lower: MemoryLayer, upper: MemoryLayer): void {
  const source = (upper.parent && lower.points.get(upper.parent.point)?.blocks) ?? lower.blocks
  const shown = within(source, upper.window)
  upper.blocks = new Map([...shown, ...upper.blocks])
  for (const point of upper.points.values()) if (point.blocks) point.blocks = new Map([...shown, ...point.blocks])
  upper.window = Math.min(upper.window, lower.window)
  upper.parent = lower.parent
  upper.record = recordAfterPull(upper.record, lower)
}

/** `lower` becomes `upper`; children of `upper` become its own. */
function push(layers: Layers, merge: Merge, lower: MemoryLayer, upper: MemoryLayer): void {
  lower.blocks = new Map([...within(lower.blocks, upper.window), ...upper.blocks])
  lower.window = Math.min(lower.window, upper.window)
  lower.size = upper.size
  lower.points = upper.points
  lower.frozen = upper.frozen
  lower.record = recordAfterPush(upper.record, { layer: merge.lower, parent: lower.parent, madeBy: lower.record.madeBy })
  for (const child of childrenOf(layers, merge.upper)) {
    child.record = recordOfMovedChild(child.record, merge.upper, merge.lower)
    child.parent = child.record.parent
  }
}

export const childrenOf = (layers: Layers, parent: LayerId): MemoryLayer[] =>
  [...layers.values()].filter((layer) => layer.parent?.layer === parent)

export function mergeInMemory(layers: Layers, merge: Merge, pointsPerLayer: 'one' | 'many'): void {
  const goes = merge.direction === 'pull' ? merge.lower : merge.upper
  if (!layers.has(goes)) return
  const [lower, upper] = [layers.get(merge.lower), layers.get(merge.upper)]
  if (upper && merge.direction === 'pull' && (upper.parent?.layer ?? null) === merge.base) return // done before
  if (lower === undefined || upper === undefined || upper.parent?.layer !== merge.lower) {
    throw refuse.hostFailure({ what: `layers ${merge.lower} and ${merge.upper} do not lie upon each other` })
  }
  if (childrenOf(layers, merge.lower).length !== 1) {
    throw refuse.hostFailure({ what: `layer ${merge.lower} has another child and cannot be merged` })
  }
  if (merge.direction === 'push' && upper.size < lower.size) {
    throw refuse.hostFailure({ what: `layer ${merge.upper} is smaller than the layer that it would be pushed into` })
  }
  if (merge.direction === 'pull') pull(lower, upper)
  else if (pointsPerLayer === 'one') push(layers, merge, lower, upper)
  else throw refuse.hostFailure({ what: 'storage that keeps many points in a layer merges upwards only' })
  if (merge.direction === 'push') layers.delete(merge.upper)
}
