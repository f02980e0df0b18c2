/**
 * The forest: layers and points of one pool, and what may happen to them. Pure; drivers carry out its verdicts.
 *
 * A layer starts blank or as a point of another layer; a point lies in a layer. A layer is needed while it is a head, holds
 * a wanted point, or has a child. Volumes, images and projects share layers, so need is asked of the whole forest.
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
  /** Layers that volumes write. */
  readonly heads: ReadonlySet<LayerId>
  /** Points that a snapshot, an image or a running operation names. */
  readonly wanted: ReadonlySet<PointId>
}
