/** SSH keys of a user: imported, or made here and given out once. */
import { createHash, generateKeyPair } from 'node:crypto'
import { promisify } from 'node:util'
import type { Selectable } from 'kysely'
import type { UserId } from '../domain/ids.ts'
import { refuse } from '../domain/refusals.ts'
import type { Db, Tables } from '../ports/tables.ts'

export type KeypairRow = Selectable<Tables['keypairs']>

export const listKeypairs = (db: Db, user: UserId): Promise<KeypairRow[]> =>
  db.selectFrom('keypairs').selectAll().where('user_id', '=', user).orderBy('name').execute()

export async function findKeypair(db: Db, user: UserId, name: string): Promise<KeypairRow> {
  const row = await db
    .selectFrom('keypairs')
    .selectAll()
    .where('user_id', '=', user)
    .where('name', '=', name)
    .executeTakeFirst()
  if (!row) throw refuse.notFound({ what: 'Keypair', id: name })
  return row
}

export async function importKeypair(db: Db, user: UserId, name: string, publicKey: string): Promise<KeypairRow> {
  const key = publicKey.trim()
  const row = { user_id: user, name, public_key: key, fingerprint: fingerprintOf(key) }
  const made = await db
    .insertInto('keypairs')
    .values(row)
    .onConflict((conflict) => conflict.doNothing())
    .returningAll()
    .executeTakeFirst()
  if (!made) throw refuse.nameTaken({ what: 'Key pair', name })
  return made
}

/** The private key is in the answer and nowhere else. */
export async function generateKeypair(
  db: Db,
  user: UserId,
  name: string,
): Promise<KeypairRow & { readonly privateKey: string }> {
  const { publicKey, privateKey } = await promisify(generateKeyPair)('rsa', { modulusLength: 3072 })
  const { n, e } = publicKey.export({ format: 'jwk' })
  if (!n || !e) throw new Error('an RSA key has a modulus and an exponent')
  const blob = Buffer.concat([
    field(Buffer.from('ssh-rsa')),
    ...[e, n].map((number) => field(positive(Buffer.from(number, 'base64url')))),
  ])
  const made = await importKeypair(db, user, name, `ssh-rsa ${blob.toString('base64')} Generated-by-Comeback`)
  return { ...made, privateKey: String(privateKey.export({ format: 'pem', type: 'pkcs1' })) }
}

export async function deleteKeypair(db: Db, user: UserId, name: string): Promise<void> {
  await findKeypair(db, user, name)
  await db.deleteFrom('keypairs').where('user_id', '=', user).where('name', '=', name).execute()
}

const field = (bytes: Buffer) => Buffer.concat([Buffer.from(Uint32Array.of(bytes.length).buffer).swap32(), bytes])
/** A leading zero keeps a number with its highest bit set from being negative. */
const positive = (bytes: Buffer) => ((bytes[0] ?? 0) & 0x80 ? Buffer.concat([Buffer.from([0]), bytes]) : bytes)

const form =
  /^(ssh-rsa|ssh-ed25519|ecdsa-sha2-nistp(?:256|384|521)|sk-ssh-ed25519@openssh\.com|sk-ecdsa-sha2-nistp256@openssh\.com) ([A-Za-z0-9+/]+={0,2})(?: [^\r\n]*)?$/

/** MD5 in pairs of hex digits, as Nova shows it. */
function fingerprintOf(publicKey: string): string {
  const [, type = '', encoded = ''] = form.exec(publicKey) ?? []
  const blob = Buffer.from(encoded, 'base64')
  const named = blob.length > 4 ? blob.subarray(4, 4 + blob.readUInt32BE(0)).toString() : ''
  if (!type || named !== type)
    throw refuse.malformed({ why: 'Keypair data is invalid: failed to generate fingerprint. An OpenSSH public key is wanted.' })
  return createHash('md5').update(blob).digest('hex').match(/../g)?.join(':') ?? ''
}
