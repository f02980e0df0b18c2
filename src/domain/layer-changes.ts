/** What the forest looks like after something was done to it. The database's rows follow these. */
import type { Bytes, LayerId, PointId } from './ids.ts'
import type { Merge } from './layer-merges.ts'
import type { Forest, Layer, Point } from './layers.ts'

const without = <T>(set: ReadonlySet<T>, gone: T): ReadonlySet<T> => new Set([...set].filter((each) => each !== gone))

/** A new head, blank or from a point. The point may be one that is about to be marked. */
export const afterNewLayer = (forest: Forest, id: LayerId, parent: PointId | null, sizeBytes: Bytes): Forest => ({
  ...forest,
  layers: [...forest.layers, { id, parent, sizeBytes }],
  heads: new Set([...forest.heads, id]),
})

/** A wanted point at the layer's present end. With one point a layer, it is a head no more. */
export const afterMark = (forest: Forest, point: Point, shape: 'one' | 'many'): Forest => ({
  ...forest,
  points: [...forest.points, point],
  heads: shape === 'one' ? without(forest.heads, point.layer) : forest.heads,
  wanted: new Set([...forest.wanted, point.id]),
})

export const afterGrowth = (forest: Forest, layer: LayerId, sizeBytes: Bytes): Forest => ({
  ...forest,
  layers: forest.layers.map((each) => (each.id === layer ? { ...each, sizeBytes } : each)),
})

/** No volume writes the layer any more. */
export const afterRelease = (forest: Forest, head: LayerId): Forest => ({ ...forest, heads: without(forest.heads, head) })

/** The last name of the point is gone. */
export const afterUnwanted = (forest: Forest, point: PointId): Forest => ({ ...forest, wanted: without(forest.wanted, point) })

export const afterPointRemoved = (forest: Forest, point: PointId): Forest => ({
  ...afterUnwanted(forest, point),
  points: forest.points.filter(({ id }) => id !== point),
})

/** The layer is gone from the storage, and its points with it. */
export function afterLayerRemoved(forest: Forest, layer: LayerId): Forest {
  const points = forest.points.filter((point) => point.layer !== layer)
  return {
    layers: forest.layers.filter(({ id }) => id !== layer),
    points,
    heads: without(forest.heads, layer),
    wanted: new Set(points.map(({ id }) => id).filter((id) => forest.wanted.has(id))),
  }
}

/** Which rows a finished merge changes. */
export type MergedRows = {
  readonly gone: LayerId
  /** The layer that is left, as it is now. */
  readonly left: Layer
  /** Points of the lower layer: they are no more. */
  readonly lostPoints: readonly PointId[]
  /** Points that lie in another layer now; children keep their parent point. */
  readonly movedPoints: readonly Point[]
  /** A volume whose head was `from` now has the head `to`. */
  readonly movedHead: { readonly from: LayerId; readonly to: LayerId } | null
}

export function rowsAfterMerge(forest: Forest, { lower, upper, direction }: Merge): MergedRows {
  const find = (id: LayerId): Layer => {
    const layer = forest.layers.find((each) => each.id === id)
    if (layer === undefined) throw new Error(`layer ${id} is not in the forest`)
    return layer
  }
  const lostPoints = forest.points.filter(({ layer }) => layer === lower).map(({ id }) => id)
  const left: Layer = { ...find(upper), id: direction === 'pull' ? upper : lower, parent: find(lower).parent }
  if (direction === 'pull') return { gone: lower, left, lostPoints, movedPoints: [], movedHead: null }
  const movedPoints = forest.points.filter(({ layer }) => layer === upper).map(({ id }) => ({ id, layer: lower }))
  const movedHead = forest.heads.has(upper) ? { from: upper, to: lower } : null
  return { gone: upper, left, lostPoints, movedPoints, movedHead }
}

export function afterMerge(forest: Forest, merge: Merge): Forest {
  const { gone, left, lostPoints, movedPoints, movedHead } = rowsAfterMerge(forest, merge)
  const lost = new Set(lostPoints)
  const moved = new Map(movedPoints.map((point) => [point.id, point]))
  return {
    layers: forest.layers.filter(({ id }) => id !== gone).map((layer) => (layer.id === left.id ? left : layer)),
    points: forest.points.filter(({ id }) => !lost.has(id)).map((point) => moved.get(point.id) ?? point),
    heads: movedHead === null ? forest.heads : new Set([...without(forest.heads, movedHead.from), movedHead.to]),
    wanted: forest.wanted,
  }
}
