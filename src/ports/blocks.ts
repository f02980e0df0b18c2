/**
 * The data of a disk as the data path sees it, whatever the kind of storage: a point is read, a new layer is written, in blocks.
 * Both exist only where the data is: in the agent, and in memory for tests.
 */
import type { Bytes } from '../domain/ids.ts'

/** A stretch of a disk. `zero`: reads as zeros, and need not be read. */
export type Extent = { readonly offset: Bytes; readonly length: Bytes; readonly kind: 'data' | 'zero' }

/** The content of a point. Nobody writes it while it is open. */
export interface BlockSource {
  readonly sizeBytes: Bytes
  /** All of the disk in order, without gaps or overlaps; holes are told as `zero`, and never read. */
  extents(signal?: AbortSignal): AsyncIterable<Extent>
  /**
   * What may differ from an earlier point of the same pool, in order, without overlaps; what is left out is the same in both.
   * Null where that cannot be told. Given when the source was opened.
   */
  changedExtents(signal?: AbortSignal): AsyncIterable<Extent> | null
  /** Exactly `length` bytes from `offset` on; several reads may be under way at once. */
  read(offset: Bytes, length: Bytes): Promise<Buffer>
  close(): Promise<void>
}

/** A new layer that nobody else has open. It reads as zeros where nothing was written. */
export interface BlockTarget {
  readonly sizeBytes: Bytes
  /** Several writes of different places may be under way at once. */
  write(offset: Bytes, data: Uint8Array): Promise<void>
  /** Resolves when everything written survives a power cut. */
  flush(): Promise<void>
  close(): Promise<void>
}
