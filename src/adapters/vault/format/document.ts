/** Small objects: JSON, sealed as one part and bound to the object's name. */
import type { ObjectName, VaultStore } from '../../../ports/vault-store.ts'
import { Damaged } from './damage.ts'
import { headerBytes, newHeader, openPart, readHeader, sealPart } from './header.ts'
import type { ObjectKind, VaultKeyring } from './keys.ts'

export function sealDocument(name: ObjectName, kind: ObjectKind, value: unknown, keys: VaultKeyring): Buffer {
  const { bytes, key } = newHeader(kind, keys)
  return Buffer.concat([bytes, ...sealPart(key, 0, Buffer.from(name), Buffer.from(JSON.stringify(value)))])
}

/** Null: there is no such object. Throws `Damaged`. */
export async function readDocument<Value>(
  store: VaultStore,
  name: ObjectName,
  kind: ObjectKind,
  keys: VaultKeyring,
): Promise<Value | null> {
  const bytes = await store.read(name)
  if (bytes === null) return null
  const { key } = readHeader(name, bytes, kind, keys)
  const plain = openPart(key, 0, Buffer.from(name), bytes.subarray(headerBytes))
  if (plain === null) throw new Damaged(name, 'its content is damaged')
  return JSON.parse(plain.toString('utf8')) as Value
}
