/** `comeback vault extract` as a process: nothing of Comeback runs, nobody signs in; there is a directory and a key. */
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmod, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { BackupRef } from '../../src/ports/vault-mover.ts'
import { comebackIn } from '../support/comeback-command.ts'
import { type DirectoryVault, vaultInDirectory } from '../support/vault/in-directory.ts'

const run = promisify(execFile)
const block = 65_536

let made: DirectoryVault
let folder: string
let key: string
let first: BackupRef
let disk: Buffer
const comeback = (args: readonly string[], input?: string) => comebackIn(folder, {})(args, input === undefined ? {} : { input })
const extract = (...args: string[]) => comeback(['vault', 'extract', made.directory, ...args, '--key-file', key])

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'extract-'))
  made = await vaultInDirectory()
  disk = Buffer.alloc(400 * block + 512)
  for (let at = 0; at < 400; at += 3) randomBytes(block).copy(disk, at * block)
  disk.fill('end', 400 * block)
  first = await made.backUp(disk, { name: 'nightly', volumeName: 'data' })
  await made.backUp(disk.subarray(0, 10 * block), { name: 'other', volumeName: 'small' })
  await made.backUp(disk.subarray(0, 5 * block), { name: 'other', volumeName: 'tiny' })
  key = join(folder, 'key.txt')
  await writeFile(key, `${made.recoveryKey.toLowerCase()}\n`)
})
afterAll(async () => {
  await made.close()
  await rm(folder, { recursive: true })
  await rm(made.directory, { recursive: true })
})

/** Names, sizes and times of everything in the vault. */
async function portrait(): Promise<string[]> {
  const entries = await readdir(made.directory, { recursive: true, withFileTypes: true })
  const lines = await Promise.all(
    entries.map(async ({ parentPath, name }) => {
      const { size, mtimeMs } = await stat(join(parentPath, name))
      return `${parentPath}/${name} ${size} ${mtimeMs}`
    }),
  )
  return lines.toSorted()
}

test('lists what is in it, as a table and as JSON; the key from a file or from standard input', async () => {
  const listed = await extract()
  expect(listed).toMatchObject({ code: 0, err: '' })
  expect(listed.out).toMatch(new RegExp(`${first.backup} +nightly +data +- +blue +25\\.0 MiB +crash +2026-`))
  const json = await comeback(['vault', 'extract', made.directory, '-o', 'json'], `${made.recoveryKey}\n`)
  expect(JSON.parse(json.out)).toMatchObject({ name: 'main', backups: [{}, {}, {}] })
})

test('writes a backup into a raw file and a qcow2 file, byte for byte, and leaves the vault as it was', async () => {
  const before = await portrait()
  const raw = join(folder, 'data.raw')
  const ran = await extract('nightly', raw)
  expect(ran).toMatchObject({ code: 0, out: `${raw} holds nightly of data: 25.0 MiB, raw, every block proved.\n` })
  expect((await readFile(raw)).equals(disk)).toBe(true)
  expect((await stat(raw)).blocks * 512).toBeLessThan(disk.length / 2)
  const qcow2 = join(folder, 'data.qcow2')
  expect((await extract(first.backup, qcow2, '-o', 'json')).code).toBe(0)
  await run('qemu-img', ['check', qcow2])
  await run('qemu-img', ['compare', '-f', 'raw', '-F', 'qcow2', raw, qcow2])
  expect(await portrait()).toEqual(before)
})

test('refuses what is wrong in words, and leaves no file', async () => {
  const refusals: [string[], number, RegExp][] = [
    [
      ['other', join(folder, 'x')],
      2,
      /There are several backups 'other'; name one by its id:\n {2}[0-9a-f-]{36} \(of (small|tiny)/,
    ],
    [['nothing', join(folder, 'x')], 2, /There is no backup 'nothing'/],
    [['nightly', join(folder, 'data.raw')], 1, /data\.raw was not written \(EEXIST\)/],
    [['nightly', '/nowhere/x'], 1, /\/nowhere\/x was not written \(ENOENT\)/],
  ]
  for (const [args, code, words] of refusals) {
    const ran = await extract(...args)
    expect([args, ran.code]).toEqual([args, code])
    expect(ran.err).toMatch(words)
  }
  const foreign = join(folder, 'foreign.txt')
  await writeFile(foreign, '00000-00000-00000-00000-00000-00000-00000-00000')
  const mistyped = await comeback(['vault', 'extract', made.directory, '--key-file', foreign])
  expect(mistyped).toMatchObject({
    code: 1,
    err: expect.stringMatching(/^This recovery key does not open the vault: group 1 of 8 is mistyped/),
  })
  const other = await vaultInDirectory()
  const wrong = await comeback(['vault', 'extract', made.directory], other.recoveryKey)
  expect(wrong.err).toMatch(/belongs to another vault/)
  await other.close()
  await rm(other.directory, { recursive: true })
  expect((await comeback(['vault', 'extract', folder, '--key-file', key])).err).toMatch(/is not where it should be/)
  expect((await comeback(['vault', 'extract', '/nowhere', '--key-file', key])).err).toMatch(/is not where it should be/)
  expect((await readdir(folder)).filter((name) => name.startsWith('x'))).toEqual([])
})

test('a damaged block is found, the backups that it touches are named, and no file is left', async () => {
  const packs = join(made.directory, 'volumes', first.volume, 'packs')
  const [name = ''] = await readdir(packs)
  const path = join(packs, name)
  const bytes = await readFile(path)
  await rename(path, `${path}.whole`)
  bytes[bytes.length >> 1]! ^= 1
  await writeFile(path, bytes)
  const ran = await extract('nightly', join(folder, 'damaged.raw'))
  expect(ran.code).toBe(1)
  expect(ran.err).toContain(first.backup)
  expect(ran.err).toContain(`packs/${name}`)
  expect((await readdir(folder)).filter((each) => each.startsWith('damaged'))).toEqual([])
  await rename(`${path}.whole`, path)

  const identity = join(made.directory, 'vault.json')
  const text = await readFile(identity, 'utf8')
  await chmod(identity, 0o600)
  await writeFile(identity, 'not what it was')
  expect((await extract()).err).toMatch(
    /^vault\.json of the vault is damaged, and without it no recovery key opens the vault\./,
  )
  await writeFile(identity, text)
  expect((await extract('nightly', join(folder, 'whole.raw'))).code).toBe(0)
})
