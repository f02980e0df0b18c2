/** What the memory pool holds: plain data, so that two moments can be compared deeply. */
import type { Bytes, LayerId, PointId } from '../../../domain/ids.ts'
import type { LayerRecord, PointRef } from '../../../ports/storage-driver.ts'

export const blockBytes = 65_536

/** Blocks that were written, each filled with one byte. */
export type Blocks = Map<number, number>

/** `one`: a point is its layer's end and keeps nothing of its own. */
export type MemoryPoint = { size: Bytes; blocks: Blocks | null }

export type MemoryLayer = {
  size: Bytes
  parent: PointRef | null
  /** How much of the parent shows through; what lies beyond reads as zeros, also after growth. */
  window: Bytes
  blocks: Blocks
  frozen: boolean
  points: Map<PointId, MemoryPoint>
  record: LayerRecord
}

export type MemoryUpload = { sizeBytes: Bytes; blocks: Blocks; refusedBecause?: string }

export type Layers = Map<LayerId, MemoryLayer>

const blocksIn = (size: Bytes): number => Math.ceil(size / blockBytes)

function byteBelow(layers: Layers, layer: MemoryLayer, block: number): number {
  if (layer.parent === null || block >= blocksIn(layer.window)) return 0
  const below = layers.get(layer.parent.layer)
  if (below === undefined) throw new Error(`layer ${layer.parent.layer} is missing under its child`)
  const own = below.points.get(layer.parent.point)?.blocks ?? below.blocks
  return own.get(block) ?? byteBelow(layers, below, block)
}

/** The byte that the block is filled with, seen through the layer or one of its points. */
export function byteAt(layers: Layers, layer: MemoryLayer, block: number, point?: MemoryPoint): number {
  if (block >= blocksIn(point?.size ?? layer.size)) return 0
  return (point?.blocks ?? layer.blocks).get(block) ?? byteBelow(layers, layer, block)
}

/** All blocks that do not read as zeros, in order. */
export function contentOf(layers: Layers, layer: MemoryLayer, point?: MemoryPoint): Record<number, number> {
  const count = blocksIn(point?.size ?? layer.size)
  const content: Record<number, number> = {}
  const written = new Set<number>()
  for (let at: MemoryLayer | undefined = layer; at; at = at.parent ? layers.get(at.parent.layer) : undefined) {
    for (const block of at.blocks.keys()) written.add(block)
    for (const { blocks } of at.points.values()) for (const block of blocks?.keys() ?? []) written.add(block)
  }
  for (const block of [...written].sort((a, b) => a - b)) {
    const byte = block < count ? byteAt(layers, layer, block, point) : 0
    if (byte !== 0) content[block] = byte
  }
  return content
}
