/** A vault's data key, and the recovery keys that wrap it. */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes, randomUUID } from 'node:crypto'
import { refuse } from '../../domain/refusals.ts'
import type { VaultKeys } from '../../ports/secrets.ts'
import type { KeySlot } from '../../ports/vault-mover.ts'
import { recoveryBytes, spell, unspell } from './recovery-text.ts'

const keyBytes = 32
const tagBytes = 16
const base64 = (bytes: Buffer): string => bytes.toString('base64')

export const vaultKeys: VaultKeys = {
  newDataKey: () => randomBytes(keyBytes),

  newRecoveryKey(dataKey) {
    const recovery = randomBytes(recoveryBytes)
    const slot = { id: randomUUID(), createdAt: new Date().toISOString() }
    const salt = randomBytes(16)
    const nonce = randomBytes(12)
    const cipher = createCipheriv('aes-256-gcm', wrapping(recovery, salt), nonce)
    cipher.setAAD(boundOf(slot))
    const wrapped = Buffer.concat([cipher.update(dataKey), cipher.final(), cipher.getAuthTag()])
    return {
      recoveryKey: spell(recovery),
      slot: { ...slot, salt: base64(salt), nonce: base64(nonce), wrapped: base64(wrapped) },
    }
  },

  recover(recoveryKey, slots) {
    const recovery = unspell(recoveryKey)
    for (const slot of slots) {
      const dataKey = unwrap(recovery, slot)
      if (dataKey !== null) return dataKey
    }
    throw refuse.recoveryKeyRefused({ why: 'it belongs to another vault, or has been replaced by a newer one' })
  },
}

const wrapping = (recovery: Buffer, salt: Buffer): Buffer =>
  Buffer.from(hkdfSync('sha256', recovery, salt, 'comeback vault 1 recovery', keyBytes))

const boundOf = ({ id, createdAt }: Pick<KeySlot, 'id' | 'createdAt'>): Buffer => Buffer.from(`${id} ${createdAt}`)

/** Null: this key did not wrap it. */
function unwrap(recovery: Buffer, slot: KeySlot): Buffer | null {
  try {
    const [salt, nonce, wrapped] = [slot.salt, slot.nonce, slot.wrapped].map((text) => Buffer.from(text, 'base64'))
    if (salt === undefined || nonce === undefined || wrapped?.length !== keyBytes + tagBytes) return null
    const decipher = createDecipheriv('aes-256-gcm', wrapping(recovery, salt), nonce, { authTagLength: tagBytes })
    decipher.setAAD(boundOf(slot))
    decipher.setAuthTag(wrapped.subarray(keyBytes))
    return Buffer.concat([decipher.update(wrapped.subarray(0, keyBytes)), decipher.final()])
  } catch {
    return null
  }
}
