/** What the records of the layers say after a merge. Points keep their ids, so only the layer that holds them changes. */
import type { LayerId } from '../../domain/ids.ts'
import type { LayerRecord } from '../../ports/storage-driver.ts'

/** `upper` has absorbed `lower`: it starts where `lower` started. */
export const recordAfterPull = (upper: LayerRecord, lower: Pick<LayerRecord, 'parent'>): LayerRecord => ({
  ...upper,
  parent: lower.parent,
})

/** `lower` has become what `upper` was: its head or its points. */
export const recordAfterPush = (upper: LayerRecord, lower: Pick<LayerRecord, 'layer' | 'parent' | 'madeBy'>): LayerRecord => ({
  ...upper,
  layer: lower.layer,
  parent: lower.parent,
  madeBy: lower.madeBy,
})

/** `lower` while `upper` is being committed into it: its own point is no more, whatever happens next. */
export const recordWhilePushed = (lower: LayerRecord): LayerRecord => ({ ...lower, role: 'frozen', points: [] })

/** A child of `from`'s points, now that they lie in `to`. */
export const recordOfMovedChild = (child: LayerRecord, from: LayerId, to: LayerId): LayerRecord =>
  child.parent?.layer === from ? { ...child, parent: { ...child.parent, layer: to } } : child
