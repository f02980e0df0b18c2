/**
 * Secrets sealed with AES-256-GCM under one key, each with a nonce of its own and bound to what it is for:
 * version (1 byte), nonce (12), ciphertext, tag (16).
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { refuse } from '../../domain/refusals.ts'
import type { Secrets } from '../../ports/secrets.ts'

const version = 1
const nonceBytes = 12
const tagBytes = 16
export const keyBytes = 32

export function secretsUnder(key: Buffer): Secrets {
  if (key.length !== keyBytes) throw new Error(`a secret key has ${keyBytes} bytes, not ${key.length}`)
  return {
    seal(secret, context) {
      const nonce = randomBytes(nonceBytes)
      const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(context))
      return Buffer.concat([Buffer.from([version]), nonce, cipher.update(secret), cipher.final(), cipher.getAuthTag()])
    },
    open(sealed, context) {
      const [nonce, rest, tag] = [
        sealed.subarray(1, 1 + nonceBytes),
        sealed.subarray(1 + nonceBytes, -tagBytes),
        sealed.subarray(-tagBytes),
      ]
      if (sealed[0] !== version || sealed.length < 1 + nonceBytes + tagBytes) throw refuse.secretUnreadable({ what: context })
      const cipher = createDecipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(context)).setAuthTag(tag)
      try {
        return Buffer.concat([cipher.update(rest), cipher.final()])
      } catch {
        throw refuse.secretUnreadable({ what: context })
      }
    },
  }
}
