/** What nobody needs any more. */
import type { LayerId, PointId } from './ids.ts'
import { type Forest, indexOf } from './layers.ts'

/**
 * Layers that may be removed, in an order in which each may go: children before parents. A layer is needed while it is a
 * head, holds a wanted point, or has a needed child.
 */
export function removableLayers(forest: Forest): LayerId[] {
  const index = indexOf(forest)
  const children = new Map(forest.layers.map(({ id }) => [id, index.childrenOf(id).length]))
  const isFree = (layer: LayerId): boolean =>
    children.get(layer) === 0 && !forest.heads.has(layer) && !index.pointsIn(layer).some(({ id }) => forest.wanted.has(id))

  const order = forest.layers.map(({ id }) => id).filter(isFree)
  for (const layer of order) {
    const parent = index.parentOf(layer)
    if (parent === null) continue
    children.set(parent, (children.get(parent) ?? 1) - 1)
    if (isFree(parent)) order.push(parent)
  }
  return order
}

/**
 * Points that may be removed from layers that stay, where storage keeps many in a layer: nobody wants them and no layer was
 * made from them. With one point a layer, a point goes with its layer.
 */
export function removablePoints(forest: Forest): PointId[] {
  const origins = new Set(forest.layers.map(({ parent }) => parent))
  const going = new Set(removableLayers(forest))
  return forest.points
    .filter(({ id, layer }) => !forest.wanted.has(id) && !origins.has(id) && !going.has(layer))
    .map(({ id }) => id)
}
