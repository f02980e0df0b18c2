/** What is said of a blob, in pack footers (48 bytes) and, with its pack's number, in index objects (52 bytes). Big endian. */
import { idBytes } from './shape.ts'

export const codecs = { raw: 0, zstd: 1 } as const
export type Codec = (typeof codecs)[keyof typeof codecs]

export type Entry = {
  /** 32 bytes. */
  readonly id: Buffer
  /** 0: a block; otherwise a page of that level. */
  readonly level: number
  readonly codec: Codec
  /** Counts the blobs of the pack, and is the nonce. */
  readonly number: number
  readonly offset: number
  /** As it lies there, tag included. */
  readonly length: number
}

export const entryBytes = 48

export function writeEntry(entry: Entry, to: Buffer, at: number): void {
  entry.id.copy(to, at)
  to.writeUInt32BE(entry.offset, at + idBytes)
  to.writeUInt32BE(entry.length, at + idBytes + 4)
  to.writeUInt32BE(entry.number, at + idBytes + 8)
  to[at + idBytes + 12] = entry.level
  to[at + idBytes + 13] = entry.codec
  to.writeUInt16BE(0, at + idBytes + 14)
}

export function readEntry(from: Buffer, at: number): Entry {
  return {
    id: from.subarray(at, at + idBytes),
    offset: from.readUInt32BE(at + idBytes),
    length: from.readUInt32BE(at + idBytes + 4),
    number: from.readUInt32BE(at + idBytes + 8),
    level: from[at + idBytes + 12] ?? 0,
    codec: from[at + idBytes + 13] === codecs.zstd ? codecs.zstd : codecs.raw,
  }
}
