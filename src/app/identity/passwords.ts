/** Passwords as argon2id hashes, in the usual text form: `$argon2id$v=19$m=19456,t=2,p=1$salt$hash`. */
import { argon2, randomBytes, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'

const derive = promisify(argon2)

// OWASP's minimum for argon2id: 19 MiB, two passes, one lane; about 30 ms here.
const cost = { memory: 19_456, passes: 2, parallelism: 1 }
const tagLength = 32
const longest = 4096

const base64 = (bytes: Buffer) => bytes.toString('base64').replaceAll('=', '')

export async function hashPassword(password: string): Promise<string> {
  const nonce = randomBytes(16)
  const tag = await derive('argon2id', { message: password, nonce, tagLength, ...cost })
  return `$argon2id$v=19$m=${cost.memory},t=${cost.passes},p=${cost.parallelism}$${base64(nonce)}$${base64(tag)}`
}

const form = /^\$argon2id\$v=19\$m=(\d+),t=(\d+),p=(\d+)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$/

// What an unknown user's password is compared with, so that it takes as long as a known one's.
const nobody = hashPassword(randomBytes(16).toString('hex'))

/** `null`: no such user. Takes the same time either way. */
export async function passwordMatches(password: string, hash: string | null): Promise<boolean> {
  const [, memory, passes, parallelism, salt, tag] = form.exec(hash ?? (await nobody)) ?? []
  if (!salt || !tag) throw new Error('a stored password hash is not of the form this program writes')
  const expected = Buffer.from(tag, 'base64')
  const given = await derive('argon2id', {
    message: password.slice(0, longest),
    nonce: Buffer.from(salt, 'base64'),
    tagLength: expected.length,
    memory: Number(memory),
    passes: Number(passes),
    parallelism: Number(parallelism),
  })
  return timingSafeEqual(given, expected) && hash !== null && password.length <= longest
}
