/** What happens to the bytes of blocks and pages: they are named, compressed, sealed; and back again, every step proved. */
import { createHmac } from 'node:crypto'
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { type Codec, codecs, type Entry } from './entry.ts'
import { keyOf, openPart, sealPart } from './header.ts'
import { blockBytes, idBytes, pageBytes } from './shape.ts'

/** HMAC-SHA256 over the level, in one byte, and the content. */
export const nameContent = (hashKey: Uint8Array, level: number, content: Uint8Array): Buffer =>
  createHmac('sha256', keyOf(hashKey)).update(Buffer.of(level)).update(content).digest()

const plainBytes = (level: number): number => (level === 0 ? blockBytes : pageBytes)

export type SealedBlob = { readonly codec: Codec; readonly parts: readonly [Buffer, Buffer] }

/** The output in one piece: in pieces of the default size it takes three times as long. `info`: the engine is given too. */
const compression = { chunkSize: blockBytes + 1024, params: { [constants.ZSTD_c_compressionLevel]: 3 }, info: true }
const decompression = { chunkSize: blockBytes, maxOutputLength: blockBytes, info: true }

const compress = (content: Uint8Array): Buffer => released(zstdCompressSync(content, compression))

/**
 * What the engine gave. An engine lives until V8 looks through everything, and holds its buffer so long: 60 MiB of them gather. It
 * does not need it any more.
 */
function released(result: unknown): Buffer {
  const { buffer, engine } = result as { buffer: Buffer; engine: { _outBuffer: Buffer | null } }
  engine._outBuffer = null
  return buffer
}

/** Pages are hashes, which do not compress. */
export function sealBlob(packKey: Uint8Array, number: number, id: Uint8Array, level: number, content: Uint8Array): SealedBlob {
  const packed = level === 0 ? compress(content) : null
  const codec = packed !== null && packed.length < content.length ? codecs.zstd : codecs.raw
  const stored = codec === codecs.zstd && packed !== null ? packed : content
  return { codec, parts: sealPart(packKey, number, boundOf(id, level, codec), stored) }
}

/** Null: it is not what was sealed, or not what the id stands for. */
export function openBlob(packKey: Uint8Array, hashKey: Uint8Array, entry: Entry, sealed: Uint8Array): Buffer | null {
  const { id, level, codec, number } = entry
  const stored = openPart(packKey, number, boundOf(id, level, codec), sealed)
  if (stored === null) return null
  const content = codec === codecs.zstd ? decompress(stored) : stored
  if (content?.length !== plainBytes(level)) return null
  return nameContent(hashKey, level, content).equals(id) ? content : null
}

function decompress(stored: Buffer): Buffer | null {
  try {
    return released(zstdDecompressSync(stored, decompression))
  } catch {
    return null
  }
}

function boundOf(id: Uint8Array, level: number, codec: Codec): Buffer {
  const bound = Buffer.alloc(idBytes + 2)
  bound.set(id)
  bound[idBytes] = level
  bound[idBytes + 1] = codec
  return bound
}
