/**
 * The first 32 bytes of every object but vault.json, and how its parts are sealed: AES-256-GCM under the object's own key,
 * the nonce being the part's number.
 */
import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject, randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { refuse } from '../../../domain/refusals.ts'
import type { ObjectName } from '../../../ports/vault-store.ts'
import { Damaged } from './damage.ts'
import { type ObjectKind, objectKinds, saltBytes, type VaultKeyring } from './keys.ts'
import { formatVersion } from './shape.ts'

const magic: Buffer = Buffer.from('COMEBACK', 'latin1')
export const headerBytes = 32
export const tagBytes = 16

/** The number of the part that closes a pack or an index object; blobs and chunks count from 0. */
export const footerNumber = 0xffff_ffff

export type Header = { readonly bytes: Buffer; readonly key: Buffer }

/** The header of a new object: magic, kind, version, two zeros, check sum, salt. */
export function newHeader(kind: ObjectKind, keys: VaultKeyring): Header {
  const bytes = Buffer.alloc(headerBytes)
  magic.copy(bytes)
  bytes[8] = objectKinds[kind]
  bytes[9] = formatVersion
  randomBytes(saltBytes).copy(bytes, 16)
  bytes.writeUInt32BE(sumOf(bytes), 12)
  return { bytes, key: keys.ofObject(kind, bytes.subarray(16)) }
}

const sumOf = (header: Buffer): number => crc32(header.subarray(16, headerBytes), crc32(header.subarray(0, 12)))

/** Throws `Damaged`; refuses (`vaultNewer`) what a later version of the format is. */
export function readHeader(object: ObjectName, bytes: Buffer, kind: ObjectKind, keys: VaultKeyring): Header {
  const own = Buffer.from(bytes.subarray(0, headerBytes))
  const isWhole = own.length === headerBytes && own.subarray(0, 8).equals(magic) && own.readUInt32BE(12) === sumOf(own)
  if (!isWhole || own[8] !== objectKinds[kind]) throw new Damaged(object, 'its header is damaged')
  const version = own[9] ?? 0
  if (version !== formatVersion) throw refuse.vaultNewer({ has: version, knows: formatVersion })
  return { bytes: own, key: keys.ofObject(kind, own.subarray(16)) }
}

const prepared = new WeakMap<Uint8Array, KeyObject>()

/** A key that is used again and again is prepared once: that takes a third of the time of sealing a block. */
export function keyOf(bytes: Uint8Array): KeyObject {
  const key = prepared.get(bytes) ?? createSecretKey(bytes)
  prepared.set(bytes, key)
  return key
}

function nonceOf(number: number): Buffer {
  const nonce = Buffer.alloc(12)
  nonce.writeUInt32BE(number, 8)
  return nonce
}

/** Ciphertext and tag, in pieces to be written one after the other. `bound` is what it must be opened with again. */
export function sealPart(key: Uint8Array, number: number, bound: Uint8Array, plain: Uint8Array): readonly [Buffer, Buffer] {
  const cipher = createCipheriv('aes-256-gcm', keyOf(key), nonceOf(number))
  cipher.setAAD(bound)
  const text = cipher.update(plain)
  cipher.final()
  return [text, cipher.getAuthTag()]
}

/** Null: it is not what was sealed. */
export function openPart(key: Uint8Array, number: number, bound: Uint8Array, sealed: Uint8Array): Buffer | null {
  if (sealed.length < tagBytes) return null
  const decipher = createDecipheriv('aes-256-gcm', keyOf(key), nonceOf(number), { authTagLength: tagBytes })
  decipher.setAAD(bound)
  decipher.setAuthTag(sealed.subarray(sealed.length - tagBytes))
  const plain = decipher.update(sealed.subarray(0, sealed.length - tagBytes))
  try {
    decipher.final()
  } catch {
    return null
  }
  return plain
}
