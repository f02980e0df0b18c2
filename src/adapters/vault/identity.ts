/** vault.json: what a vault says of itself to whoever has no key. The one object that a person can read. */
import { refuse } from '../../domain/refusals.ts'
import type { VaultIdentity } from '../../ports/vault-mover.ts'
import type { VaultStore } from '../../ports/vault-store.ts'
import { Damaged } from './format/damage.ts'
import type { VaultKeyring } from './format/keys.ts'
import { identityName } from './format/names.ts'
import { formatVersion } from './format/shape.ts'

type Proved = VaultIdentity & { readonly proof: string }

/** The text that is proved: fields in this order, without white space. */
const textOf = ({ format, vault, name, createdAt, slots }: VaultIdentity): string =>
  JSON.stringify({
    format,
    vault,
    name,
    createdAt,
    slots: slots.map(({ id, createdAt, salt, nonce, wrapped }) => ({ id, createdAt, salt, nonce, wrapped })),
  })

export function identityObject(identity: VaultIdentity, keys: VaultKeyring): Buffer {
  const text = textOf(identity)
  const proved = { ...JSON.parse(text), proof: keys.prove(text) }
  return Buffer.from(`${JSON.stringify(proved, null, 2)}\n`)
}

/** Null: no vault lies there. Throws `Damaged`; refuses (`vaultNewer`) a vault of a later format. */
export async function readIdentity(store: VaultStore): Promise<Proved | null> {
  const bytes = await store.read(identityName)
  if (bytes === null) return null
  const value = parsed(bytes.toString('utf8'))
  if (value === null) throw new Damaged(identityName, 'it is not readable')
  if (value.format > formatVersion) throw refuse.vaultNewer({ has: value.format, knows: formatVersion })
  return value
}

function parsed(text: string): Proved | null {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value !== 'object' || value === null) return null
    const isIdentity = 'format' in value && typeof value.format === 'number' && 'vault' in value && 'slots' in value
    return isIdentity && Array.isArray(value.slots) ? (value as unknown as Proved) : null
  } catch {
    return null
  }
}

/** Whether somebody with the key wrote it as it is. */
export const isProved = (identity: Proved, keys: VaultKeyring): boolean => keys.prove(textOf(identity)) === identity.proof
