/**
 * The work on bytes, as jobs that can be done here or in another thread. Buffers are handed over: whoever gives one to a job
 * does not use it any more.
 */

import { nameContent, openBlob, sealBlob } from '../format/blob.ts'
import type { Codec, Entry } from '../format/entry.ts'
import { blockBytes, idBytes, zeroId } from '../format/shape.ts'

/** Names whole blocks, one after the other in `data`. */
export type IdentifyJob = { readonly data: Uint8Array<ArrayBuffer>; readonly hashKey: Uint8Array }
/** `ids`: 32 bytes a block, zeros for a block of zeros. */
export type Identified = { readonly data: Uint8Array<ArrayBuffer>; readonly ids: Uint8Array<ArrayBuffer> }

/** Seals some of the blocks in `data` for a pack. `picks`: which; the first of them gets the number `first`, and so on. */
export type SealJob = {
  readonly data: Uint8Array<ArrayBuffer>
  readonly ids: Uint8Array<ArrayBuffer>
  readonly picks: readonly number[]
  readonly packKey: Uint8Array
  readonly first: number
}
/** The blobs one after the other, in the order of the picks. */
export type Sealed = {
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly lengths: readonly number[]
  readonly codecs: readonly Codec[]
}

/** Blobs of blocks, as they were read: each lies at `at` of `sealed`. */
export type OpenJob = {
  readonly sealed: readonly Uint8Array<ArrayBuffer>[]
  readonly blobs: readonly (Omit<Entry, 'id' | 'offset'> & {
    readonly id: Uint8Array
    readonly packKey: Uint8Array
    readonly piece: number
    readonly at: number
  })[]
  readonly hashKey: Uint8Array
}
/** The blocks one after the other; or the first blob that is not what it should be. */
export type Opened = { readonly data: Uint8Array<ArrayBuffer> } | { readonly damaged: number }

export type Jobs = {
  identify: [IdentifyJob, Identified]
  seal: [SealJob, Sealed]
  open: [OpenJob, Opened]
}

const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
const zeroBlock = Buffer.alloc(blockBytes)

export function identify({ data, hashKey }: IdentifyJob): Identified {
  const key = asBuffer(hashKey)
  const all = asBuffer(data)
  const ids = new Uint8Array((data.length / blockBytes) * idBytes)
  for (let block = 0; block * blockBytes < data.length; block++) {
    const content = all.subarray(block * blockBytes, (block + 1) * blockBytes)
    ids.set(content.equals(zeroBlock) ? zeroId : nameContent(key, 0, content), block * idBytes)
  }
  return { data, ids }
}

export function seal({ data, ids, picks, packKey, first }: SealJob): Sealed {
  const key = asBuffer(packKey)
  const blobs = picks.map((block, at) =>
    sealBlob(
      key,
      first + at,
      ids.subarray(block * idBytes, (block + 1) * idBytes),
      0,
      data.subarray(block * blockBytes, (block + 1) * blockBytes),
    ),
  )
  const lengths = blobs.map(({ parts: [text, tag] }) => text.length + tag.length)
  const bytes = new Uint8Array(lengths.reduce((sum, length) => sum + length, 0))
  let at = 0
  for (const { parts } of blobs)
    for (const part of parts) {
      bytes.set(part, at)
      at += part.length
    }
  return { bytes, lengths, codecs: blobs.map(({ codec }) => codec) }
}

export function open({ sealed, blobs, hashKey }: OpenJob): Opened {
  const key = asBuffer(hashKey)
  const data = new Uint8Array(blobs.length * blockBytes)
  for (const [number, { piece, at, length, id, packKey, ...rest }] of blobs.entries()) {
    const entry: Entry = { ...rest, id: asBuffer(id), length, offset: at }
    const bytes = sealed[piece]?.subarray(at, at + length) ?? new Uint8Array()
    const content = openBlob(asBuffer(packKey), key, entry, bytes)
    if (content === null) return { damaged: number }
    data.set(content, number * blockBytes)
  }
  return { data }
}
