/**
 * The forest: layers and points of one pool, and what may happen to them. Pure; drivers carry out its verdicts.
 *
 * A layer starts blank or as a point of another layer; a point lies in a layer. A layer is needed while it is a head, holds
 * a wanted point, or has a child. Volumes, images and projects share layers, so need is asked of the whole forest.
 *
 * What may go: `layer-garbage.ts` · what to merge: `layer-merges.ts` · what it looks like afterwards: `layer-changes.ts`.
 */
import type { Bytes, LayerId, PointId } from './ids.ts'

export type Layer = {
  readonly id: LayerId
  /** The point it was made from; null: blank. */
  readonly parent: PointId | null
  readonly sizeBytes: Bytes
}

export type Point = { readonly id: PointId; readonly layer: LayerId }

export type Forest = {
  readonly layers: readonly Layer[]
  readonly points: readonly Point[]
  /** Layers that volumes write, or that a running operation made for a volume to write. */
  readonly heads: ReadonlySet<LayerId>
  /** Points that a snapshot, an image or a running operation names. */
  readonly wanted: ReadonlySet<PointId>
}

export const emptyForest: Forest = { layers: [], points: [], heads: new Set(), wanted: new Set() }

/** The forest's relations, looked up by id. */
export type ForestIndex = {
  readonly layers: ReadonlyMap<LayerId, Layer>
  readonly points: ReadonlyMap<PointId, Point>
  readonly pointsIn: (layer: LayerId) => readonly Point[]
  /** Layers made from the layer's points. */
  readonly childrenOf: (layer: LayerId) => readonly Layer[]
  readonly parentOf: (layer: LayerId) => LayerId | null
}

export function indexOf(forest: Forest): ForestIndex {
  const layers = new Map(forest.layers.map((layer) => [layer.id, layer]))
  const points = new Map(forest.points.map((point) => [point.id, point]))
  const parentOf = (layer: LayerId): LayerId | null => {
    const parent = layers.get(layer)?.parent
    return parent ? (points.get(parent)?.layer ?? null) : null
  }
  const pointsIn = Map.groupBy(forest.points, ({ layer }) => layer)
  const children = Map.groupBy(forest.layers, ({ id }) => parentOf(id))
  return {
    layers,
    points,
    pointsIn: (layer) => pointsIn.get(layer) ?? [],
    childrenOf: (layer) => children.get(layer) ?? [],
    parentOf,
  }
}

/** The layers that a layer's content is made of, bottom first, itself last. */
export function chainOf(forest: Forest, layer: LayerId, index = indexOf(forest)): LayerId[] {
  const chain: LayerId[] = []
  for (let at: LayerId | null = layer; at !== null; at = index.parentOf(at)) chain.unshift(at)
  return chain
}

/**
 * How many layers on the line down from a layer are kept for their points: what no merge can shorten. Measured on qcow2,
 * 20 deep costs 13 to 41 % of 4 KiB reads, 50 deep two thirds.
 */
export function retainedOn(forest: Forest, layer: LayerId, index = indexOf(forest)): number {
  const isKept = (at: LayerId) => index.pointsIn(at).some(({ id }) => forest.wanted.has(id))
  return chainOf(forest, layer, index).filter(isKept).length
}

const warnPast = 32
const refusePast = 64

/** What to say when a line is to keep so many points. */
export const lineVerdict = (retained: number): 'fine' | 'long' | 'tooLong' =>
  retained > refusePast ? 'tooLong' : retained > warnPast ? 'long' : 'fine'
