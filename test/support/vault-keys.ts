/** Keys of vaults that can be told apart at a glance, and secrets under a key of the tests' own. */
import { randomBytes } from 'node:crypto'
import { secretsUnder } from '../../src/adapters/secrets/sealed.ts'
import { refuse } from '../../src/domain/refusals.ts'
import type { VaultKeys } from '../../src/ports/secrets.ts'

export const testSecrets = secretsUnder(Buffer.alloc(32, 7))

/** The recovery key is the data key in another writing: whoever has it opens the slot. */
export const testVaultKeys: VaultKeys = {
  newDataKey: () => randomBytes(32),
  newRecoveryKey(dataKey) {
    const id = randomBytes(4).toString('hex')
    const slot = { id, createdAt: new Date().toISOString(), salt: '', nonce: '', wrapped: '' }
    return { recoveryKey: `${id}-${dataKey.toString('hex')}`, slot }
  },
  recover(recoveryKey, slots) {
    const [id, key] = recoveryKey.split('-')
    if (!slots.some((slot) => slot.id === id) || !key) throw refuse.recoveryKeyRefused({ why: 'no slot of it opens' })
    return Buffer.from(key, 'hex')
  },
}
