/** The installation's own secret key: 32 bytes in hexadecimal, in a file that nobody else may read. */
import { randomBytes, randomUUID } from 'node:crypto'
import { link, mkdir, open, readFile, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { refuse } from '../../domain/refusals.ts'
import { keyBytes } from './sealed.ts'

/** Reads the key. The installation's own file is made at its first start; one that an administrator names must be there. */
export async function secretKey(file: string, { make }: { readonly make: boolean }): Promise<Buffer> {
  const found = (await textOf(file)) ?? (make ? await made(file) : null)
  if (found === null)
    throw refuse.setup({ why: `The secret key ${file} is not there. Put it back, or correct COMEBACK_SECRET_KEY_FILE.` })
  if (make) await requirePrivate(file)
  const text = found.trim()
  if (!new RegExp(`^[0-9a-f]{${2 * keyBytes}}$`, 'i').test(text))
    throw refuse.setup({ why: `The secret key ${file} is not ${2 * keyBytes} hexadecimal digits. Put the right file back.` })
  return Buffer.from(text, 'hex')
}

const textOf = (file: string): Promise<string | null> =>
  readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null
    throw refuse.setup({ why: `The secret key ${file} cannot be read (${error.code}).` })
  })

/** Written whole beside its place and linked to it, so that of two who start at once both have the same. */
async function made(file: string): Promise<string> {
  const text = `${randomBytes(keyBytes).toString('hex')}\n`
  await mkdir(dirname(file), { recursive: true })
  const fresh = `${file}.${randomUUID()}`
  const handle = await open(fresh, 'wx', 0o600)
  try {
    await handle.writeFile(text)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await link(fresh, file).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
  })
  await rm(fresh)
  const folder = await open(dirname(file))
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
  return await readFile(file, 'utf8')
}

async function requirePrivate(file: string): Promise<void> {
  const { mode } = await stat(file)
  if ((mode & 0o077) !== 0)
    throw refuse.setup({ why: `The secret key ${file} may be read by others. Take their rights away: chmod 600 ${file}` })
}
