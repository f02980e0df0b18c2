/**
 * A recovery key as text that a person can write down and type: eight groups of five characters, without I, L, O and U. Four
 * of each group are the key, 160 bits in all; the fifth is a check digit that finds every single mistake and every swap of two
 * characters, and of two groups.
 */
import { refuse } from '../../domain/refusals.ts'

const alphabet = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
const groups = 8
const digits = 4
export const recoveryBytes = (groups * digits * 5) / 8

export function spell(key: Buffer): string {
  let bits = BigInt(`0x${key.toString('hex')}`)
  const values: number[] = []
  for (let count = 0; count < groups * digits; count++) {
    values.unshift(Number(bits & 31n))
    bits >>= 5n
  }
  return Array.from({ length: groups }, (_, group) => {
    const own = values.slice(group * digits, (group + 1) * digits)
    return [...own, checkOf(own, group)].map((value) => alphabet[value]).join('')
  }).join('-')
}

/** Whatever the case and the separators. Throws `recoveryKeyRefused`, naming the group that is mistyped. */
export function unspell(text: string): Buffer {
  const plain = text.toUpperCase().replaceAll(/[\s-]/g, '').replaceAll('O', '0').replaceAll(/[IL]/g, '1')
  const expected = groups * (digits + 1)
  if (plain.length !== expected)
    throw refuse.recoveryKeyRefused({ why: `it has ${plain.length} characters instead of ${expected}` })
  let bits = 0n
  for (let group = 0; group < groups; group++) {
    const written = plain.slice(group * (digits + 1), (group + 1) * (digits + 1))
    const values = Array.from(written, (character) => alphabet.indexOf(character))
    const own = values.slice(0, digits)
    if (values.includes(-1) || checkOf(own, group) !== values[digits])
      throw refuse.recoveryKeyRefused({ why: `group ${group + 1} of ${groups} is mistyped` })
    for (const value of own) bits = (bits << 5n) | BigInt(value)
  }
  return Buffer.from(bits.toString(16).padStart(recoveryBytes * 2, '0'), 'hex')
}

/** A polynomial over the field of 32 elements, of the digits and the group's number: every digit has a weight of its own. */
const checkOf = (values: readonly number[], group: number): number =>
  values.reduce((sum, value) => double(sum ^ value), group + 1)

/** Times x, modulo x⁵ + x² + 1. */
const double = (value: number): number => ((value << 1) ^ (value & 16 ? 0b100101 : 0)) & 31
