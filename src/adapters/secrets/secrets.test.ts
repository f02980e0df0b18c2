import { chmod, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { secretKey } from './key-file.ts'
import { secretsUnder } from './sealed.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'comeback-secrets-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const bytes = (least: number, most = least) => fc.uint8Array({ minLength: least, maxLength: most }).map(Buffer.from)

test('what is sealed opens under the same key for the same thing, and says nothing', () => {
  fc.assert(
    fc.property(bytes(32), bytes(0, 80), fc.string(), (key, secret, context) => {
      const { seal, open } = secretsUnder(key)
      const sealed = seal(secret, context)
      expect(open(sealed, context)).toEqual(secret)
      expect(secretsUnder(Buffer.from(key)).open(sealed, context)).toEqual(secret)
      if (secret.length > 8) expect(sealed.includes(secret)).toBe(false)
      expect(seal(secret, context)).not.toEqual(sealed)
    }),
  )
})

test('it opens neither under another key, nor for another thing, nor when a bit was turned or some of it is missing', () => {
  const secrets = secretsUnder(Buffer.alloc(32, 1))
  const sealed = secrets.seal(Buffer.from('secret'), 'a')
  const refused = expect.objectContaining({ code: 'secretUnreadable' })
  const opening = (run: () => unknown) => {
    try {
      return run()
    } catch (error) {
      return error
    }
  }
  expect(opening(() => secretsUnder(Buffer.alloc(32, 2)).open(sealed, 'a'))).toEqual(refused)
  expect(opening(() => secrets.open(sealed, 'b'))).toEqual(refused)
  for (let at = 0; at < sealed.length; at++) {
    const turned = Buffer.from(sealed)
    turned[at]! ^= 0x10
    expect(
      opening(() => secrets.open(turned, 'a')),
      `bit in byte ${at}`,
    ).toEqual(refused)
    expect(
      opening(() => secrets.open(sealed.subarray(0, at), 'a')),
      `${at} bytes`,
    ).toEqual(refused)
  }
})

test('the key is made once, for its owner only, also when several start at once', async () => {
  const file = join(folder, 'secret.key')
  const keys = await Promise.all(Array.from({ length: 5 }, () => secretKey(file, { make: true })))
  expect(new Set(keys.map(String)).size).toBe(1)
  expect((await stat(file)).mode & 0o777).toBe(0o600)
  expect(await readdir(folder)).toEqual(['secret.key'])
  expect(await secretKey(file, { make: true })).toEqual(keys[0])
})

test('a key that others may read, that is none, or that was to be there and is not, keeps from starting', async () => {
  const file = join(folder, 'other.key')
  await writeFile(file, 'f'.repeat(64), { mode: 0o600 })
  await chmod(file, 0o640)
  await expect(secretKey(file, { make: true })).rejects.toMatchObject({
    code: 'setup',
    message: expect.stringContaining('chmod 600'),
  })
  expect(await secretKey(file, { make: false })).toEqual(Buffer.alloc(32, 0xff))
  await writeFile(file, 'not a key')
  await expect(secretKey(file, { make: false })).rejects.toMatchObject({ code: 'setup' })
  await expect(secretKey(join(folder, 'nowhere'), { make: false })).rejects.toMatchObject({ code: 'setup' })
})
