/**
 * Packs and index objects: sealed parts one after the other, then a sealed footer that lists them, then a trailer of 40 bytes:
 * the object's header, the length of the footer as it lies there, and a check sum over both. Read from its end.
 */
import { crc32 } from 'node:zlib'
import type { ObjectName, VaultStore } from '../../../ports/vault-store.ts'
import { Damaged } from './damage.ts'
import { footerNumber, type Header, headerBytes, openPart, readHeader, sealPart } from './header.ts'
import type { ObjectKind, VaultKeyring } from './keys.ts'

export const trailerBytes = headerBytes + 8

/** What follows the last part. */
export function closing(header: Header, footer: Buffer): Buffer {
  const [text, tag] = sealPart(header.key, footerNumber, header.bytes, footer)
  const trailer = Buffer.alloc(trailerBytes)
  header.bytes.copy(trailer)
  trailer.writeUInt32BE(text.length + tag.length, headerBytes)
  trailer.writeUInt32BE(crc32(trailer.subarray(0, headerBytes + 4)), headerBytes + 4)
  return Buffer.concat([text, tag, trailer])
}

export type Container = { readonly name: ObjectName; readonly key: Buffer; readonly footer: Buffer }

/** Most footers are shorter, and are read with one call. */
const likelyTail = 64 * 1024

/** Null: there is no such object. Throws `Damaged`. */
export async function openContainer(
  store: VaultStore,
  name: ObjectName,
  kind: ObjectKind,
  keys: VaultKeyring,
): Promise<Container | null> {
  const tail = await store.read(name, { offset: -likelyTail, length: likelyTail })
  if (tail === null) return null
  const trailer = tail.subarray(Math.max(0, tail.length - trailerBytes))
  if (trailer.length < trailerBytes || trailer.readUInt32BE(headerBytes + 4) !== crc32(trailer.subarray(0, headerBytes + 4)))
    throw new Damaged(name, 'its end is damaged or missing')
  const { bytes, key } = readHeader(name, trailer, kind, keys)
  const length = trailer.readUInt32BE(headerBytes)
  const whole = length + trailerBytes
  const from = whole <= tail.length ? tail : await store.read(name, { offset: -whole, length: whole })
  if (from === null) return null
  const sealed = from.subarray(Math.max(0, from.length - whole), from.length - trailerBytes)
  const footer = sealed.length === length ? openPart(key, footerNumber, bytes, sealed) : null
  if (footer === null) throw new Damaged(name, 'its footer is damaged')
  return { name, key, footer }
}
