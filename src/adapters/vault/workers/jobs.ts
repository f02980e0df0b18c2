/**
 * The work on bytes, as jobs that can be done here or in another thread. Buffers of content are handed over: whoever gives one
 * to a job does not use it any more. Keys and ids are small, and copied.
 */
import { nameContent, openBlob, sealBlob } from '../format/blob.ts'
import type { Codec } from '../format/entry.ts'
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

/** A blob in bytes that were read: it lies at `at` of `sealed[piece]`, under `packKeys[pack]`. */
export type SealedBlock = {
  readonly piece: number
  readonly at: number
  readonly length: number
  readonly pack: number
  readonly number: number
  readonly codec: Codec
}
/** `ids`: 32 bytes a block. */
export type OpenJob = {
  readonly sealed: readonly Uint8Array<ArrayBuffer>[]
  readonly packKeys: readonly Uint8Array[]
  readonly ids: Uint8Array<ArrayBuffer>
  readonly blocks: readonly SealedBlock[]
  readonly hashKey: Uint8Array
}
/** The content of the blocks, one after the other; or the first block that is not what it should be. */
export type Opened = { readonly data: Uint8Array<ArrayBuffer> } | { readonly damaged: number }

export type Jobs = {
  identify: [IdentifyJob, Identified]
  seal: [SealJob, Sealed]
  open: [OpenJob, Opened]
}

const zeroBlock = Buffer.alloc(blockBytes)

const partOf = (bytes: Uint8Array, number: number, each: number): Buffer =>
  Buffer.from(bytes.buffer, bytes.byteOffset + number * each, each)

export function identify({ data, hashKey }: IdentifyJob): Identified {
  const ids = new Uint8Array((data.length / blockBytes) * idBytes)
  for (let block = 0; block * blockBytes < data.length; block++) {
    const content = partOf(data, block, blockBytes)
    ids.set(content.equals(zeroBlock) ? zeroId : nameContent(hashKey, 0, content), block * idBytes)
  }
  return { data, ids }
}

export function seal({ data, ids, picks, packKey, first }: SealJob): Sealed {
  const blobs = picks.map((block, at) =>
    sealBlob(packKey, first + at, partOf(ids, block, idBytes), 0, partOf(data, block, blockBytes)),
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

export function open({ sealed, packKeys, ids, blocks, hashKey }: OpenJob): Opened {
  const data = new Uint8Array(blocks.length * blockBytes)
  const none = new Uint8Array()
  for (const [block, { piece, at, length, pack, number, codec }] of blocks.entries()) {
    const entry = { id: partOf(ids, block, idBytes), level: 0, codec, number, length, offset: at }
    const bytes = sealed[piece]?.subarray(at, at + length) ?? none
    const content = openBlob(packKeys[pack] ?? none, hashKey, entry, bytes)
    if (content === null) return { damaged: block }
    data.set(content, block * blockBytes)
  }
  return { data }
}
