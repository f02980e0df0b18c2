/** The measures of the format, version 1; docs/vault-format.md draws them. */
import type { Bytes } from '../../../domain/ids.ts'

export const formatVersion = 1 as const

/** What is hashed, compressed and sealed as one: the cluster of qcow2. The last block of a disk is filled up with zeros. */
export const blockBytes = 65_536
export const idBytes = 32
/** Children of a page, at every level. */
export const fanOut = 128
export const pageBytes = fanOut * idBytes

/** What a writer may choose; a reader does not care. */
export type Measures = {
  /** A pack is closed when it has grown to this; it may become some blobs larger. */
  readonly packBytes: number
  /** Entries that are sorted in memory, 52 bytes each, and make one index object. */
  readonly indexEntries: number
  /** So many index objects are searched one after the other without harm; a sweep makes one of more. */
  readonly mostIndexes: number
}
export const usualMeasures: Measures = { packBytes: 32 * 1024 * 1024, indexEntries: 2 ** 19, mostIndexes: 8 }

/** Stands for a block of zeros, or for a page under which there are only such; nothing is stored for it. */
export const zeroId: Buffer = Buffer.alloc(idBytes)
export const zeroPage: Buffer = Buffer.alloc(pageBytes)

export const isZeroId = (id: Uint8Array): boolean => zeroId.equals(id)

export const blocksOf = (sizeBytes: Bytes): number => Math.max(1, Math.ceil(sizeBytes / blockBytes))

/** Levels of pages over the blocks of a disk: its root is a page of this level. Blocks are level 0. */
export function depthOf(sizeBytes: Bytes): number {
  let depth = 1
  while (fanOut ** depth < blocksOf(sizeBytes)) depth++
  return depth
}

/** Blocks under one page, or one block, of the level. */
export const spanOf = (level: number): number => fanOut ** level

export const childOf = (page: Buffer, index: number): Buffer => page.subarray(index * idBytes, (index + 1) * idBytes)
