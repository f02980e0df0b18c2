/** Secrets at rest: sealed under a key that lies outside the database. */
import type { KeySlot } from './vault-mover.ts'

export interface Secrets {
  /** `context` is bound in: what was sealed for one thing does not open for another. */
  seal(secret: Buffer, context: string): Buffer
  /** Throws `secretUnreadable` when it was sealed under another key or for something else. */
  open(sealed: Buffer, context: string): Buffer
}

/** Keys of vaults. A recovery key is shown once, as text that a person can write down and type; its slot lies in the vault. */
export interface VaultKeys {
  newDataKey(): Buffer
  newRecoveryKey(dataKey: Buffer): { readonly recoveryKey: string; readonly slot: KeySlot }
  /** The data key. Throws `recoveryKeyRefused`: mistyped (its check digits say so), or of another vault. */
  recover(recoveryKey: string, slots: readonly KeySlot[]): Buffer
}
