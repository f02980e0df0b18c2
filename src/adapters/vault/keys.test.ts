import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { vaultKeys } from './keys.ts'
import { recoveryBytes, spell, unspell } from './recovery-text.ts'

const refused = (why: RegExp) => expect.objectContaining({ code: 'recoveryKeyRefused', message: expect.stringMatching(why) })

test('a recovery key gives the data key back, however it is typed', () => {
  const dataKey = vaultKeys.newDataKey()
  const { recoveryKey, slot } = vaultKeys.newRecoveryKey(dataKey)
  const other = vaultKeys.newRecoveryKey(dataKey)
  expect(recoveryKey).toMatch(/^([0-9A-HJKMNP-TV-Z]{5}-){7}[0-9A-HJKMNP-TV-Z]{5}$/)
  for (const typed of [recoveryKey, recoveryKey.toLowerCase(), ` ${recoveryKey.replaceAll('-', ' ')}\n`])
    expect(vaultKeys.recover(typed, [other.slot, slot])).toEqual(dataKey)
  const confusable = recoveryKey.replaceAll('0', 'o').replaceAll('1', 'l')
  expect(vaultKeys.recover(confusable, [slot])).toEqual(dataKey)
})

test('a key of another vault is refused, and so is one whose slot has been changed', () => {
  const { recoveryKey, slot } = vaultKeys.newRecoveryKey(vaultKeys.newDataKey())
  const foreign = vaultKeys.newRecoveryKey(vaultKeys.newDataKey())
  expect(() => vaultKeys.recover(foreign.recoveryKey, [slot])).toThrow(refused(/another vault/))
  expect(() => vaultKeys.recover(recoveryKey, [])).toThrow(refused(/another vault/))
  for (const changed of [
    { ...slot, id: foreign.slot.id },
    { ...slot, salt: foreign.slot.salt },
    { ...slot, nonce: foreign.slot.nonce },
    { ...slot, wrapped: foreign.slot.wrapped },
    { ...slot, wrapped: 'AAAA' },
  ])
    expect(() => vaultKeys.recover(recoveryKey, [changed])).toThrow(refused(/another vault/))
})

describe('a mistyped recovery key', () => {
  const key = fc.uint8Array({ minLength: recoveryBytes, maxLength: recoveryBytes }).map((bytes) => Buffer.from(bytes))
  const alphabet = [...'0123456789ABCDEFGHJKMNPQRSTVWXYZ']

  test('every key is spelt and read back', () => {
    fc.assert(
      fc.property(key, (bytes) => {
        expect(unspell(spell(bytes))).toEqual(bytes)
      }),
    )
  })

  test('one wrong character is found, and its group named', () => {
    fc.assert(
      fc.property(key, fc.nat(39), fc.constantFrom(...alphabet), (bytes, at, other) => {
        const text = [...spell(bytes)].filter((character) => character !== '-')
        fc.pre(text[at] !== other)
        text[at] = other
        expect(() => unspell(text.join(''))).toThrow(refused(new RegExp(`group ${Math.floor(at / 5) + 1} of 8`)))
      }),
    )
  })

  test('two characters of a group, or two groups, that were swapped are found', () => {
    fc.assert(
      fc.property(key, fc.nat(7), fc.nat(4), fc.nat(4), fc.nat(7), (bytes, group, one, other, otherGroup) => {
        const words = spell(bytes).split('-')
        const letters = [...(words[group] ?? '')]
        if (letters[one] !== letters[other]) {
          ;[letters[one], letters[other]] = [letters[other] ?? '', letters[one] ?? '']
          expect(() => unspell(words.with(group, letters.join('')).join('-'))).toThrow(refused(/mistyped/))
        }
        if (group !== otherGroup) {
          const swapped = words.with(group, words[otherGroup] ?? '').with(otherGroup, words[group] ?? '')
          expect(() => unspell(swapped.join('-'))).toThrow(refused(/mistyped/))
        }
      }),
    )
  })

  test('too short, too long, or with a letter that does not occur', () => {
    const text = spell(randomBytes(recoveryBytes))
    expect(() => unspell(text.slice(1))).toThrow(refused(/39 characters instead of 40/))
    expect(() => unspell(`${text}A`)).toThrow(refused(/41 characters/))
    expect(() => unspell(`U${text.slice(1)}`)).toThrow(refused(/group 1 of 8/))
  })
})
