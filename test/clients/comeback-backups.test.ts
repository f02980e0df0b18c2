/** Backups and vaults with the `comeback` command; the host, its disks and the vault are in memory. */
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { InstanceId } from '../../src/domain/ids.ts'
import { comebackIn, type Ran, type RunOptions, signInAs } from '../support/comeback-command.ts'
import { type NativeServer, nativeServer, type TestUser } from '../support/native-server.ts'
import type { Json } from '../support/people.ts'

let server: NativeServer
let alice: TestUser
let folder: string
let web: InstanceId

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cli-'))
  server = await nativeServer()
  alice = await server.user('alice', 'blue', 'member')
  await server.user('ruth', 'blue', 'reader')
  await server.user('root', 'admins', 'admin')
  web = await server.instance(alice, 'web')
})
afterAll(() => rm(folder, { recursive: true }))

const as = (name: string, project = 'blue') => signInAs(server.url, name, name, project)
const comeback = (args: readonly string[], options: RunOptions = {}) => comebackIn(folder, as('alice'))(args, options)
const admin = (args: readonly string[], options: RunOptions = {}) => comebackIn(folder, as('root', 'admins'))(args, options)
const parsed = ({ out }: Ran): Json => JSON.parse(out)

async function well(ran: Promise<Ran>): Promise<string> {
  const { code, out, err } = await ran
  expect({ code, err: code === 0 ? '' : err }).toEqual({ code: 0, err: '' })
  return out
}

test('a vault is made, and its recovery key shown once or written to a file of its owner', async () => {
  const none = await comeback(['instances', 'backup', 'web'])
  expect(none).toMatchObject({ code: 1, err: expect.stringMatching(/^Hypervisor has no backup storage configured\./) })
  const made = await well(admin(['vault', 'create', 'main', '/srv/main']))
  expect(made).toMatch(/^Made: vault main in \/srv\/main\n\nRecovery key:\n\n {4}\S+\n\nWrite it down/)
  const file = join(folder, 'key.txt')
  const kept = await well(admin(['vault', 'kit', 'main', '--save-key', file]))
  expect(kept).toBe(`A new recovery key of vault main\nIts recovery key is in ${file}. Keep it apart from these machines.\n`)
  expect((await stat(file)).mode & 0o777).toBe(0o600)
  expect((await readFile(file, 'utf8')).length).toBeGreaterThan(20)
  expect((await admin(['vault', 'kit', 'main', '--save-key', file])).code).toBe(2)
  expect(await well(admin(['vault', 'test', 'main']))).toBe('It works. Free: 1 TiB.\n')
  expect(await well(admin(['vault', 'change', 'main', '--rate', '50MiB', '--parallel', '2']))).toMatch(
    /rate +50 MiB\/s\nparallel +2\n/,
  )
  expect(await well(admin(['vault', 'change', 'main', '--rate', 'none']))).toMatch(/rate +as fast as it goes\n/)
  expect(await well(admin(['vault']))).toMatch(/main +\/srv\/main +yes /)
  expect((await comeback(['vault'])).code).toBe(4)
  const twice = await admin(['vault', 'create', 'other', '/srv/main', '--save-key', join(folder, 'other.txt'), '-o', 'json'])
  expect(twice.code).toBe(1)
  expect(JSON.parse(twice.err)).toMatchObject({ error: { code: 'vaultNotEmpty' } })
  await expect(stat(join(folder, 'other.txt'))).rejects.toThrow('ENOENT')
})

test('made, listed, shown, restored in place, undone, restored to a new volume, deleted', async () => {
  const [vda] = parsed(await comeback(['instances', 'show', 'web', '-o', 'json'])).disks
  const made = await comeback(['volumes', 'backup', vda.volume, 'nightly'])
  expect(made).toMatchObject({
    code: 0,
    out: expect.stringMatching(/^Backed up: [0-9a-f-]{36}, .* read, .* stored, crash-consistent\n$/),
  })
  expect(made.err).toMatch(/backup: write .* of 1 GiB, \d+ %/)
  const both = await well(comeback(['instances', 'backup', 'web', 'both', '--description', 'two disks']))
  expect(both).toMatch(/^BACKUP +DEVICE .*\n[0-9a-f-]{36} +vda .*\n[0-9a-f-]{36} +vdb /)
  expect(await well(comeback(['backups', '--volume', vda.volume]))).toMatch(/nightly +.* available .* main\n?/)
  expect(parsed(await comeback(['backups', 'list', '-o', 'json'])).items).toHaveLength(3)
  expect(await well(comeback(['backups', 'show', 'nightly']))).toMatch(
    /state +available\n[\s\S]*instance +web vda\n[\s\S]*everything: /,
  )
  const several = await comeback(['backups', 'show', 'both'])
  expect(several).toMatchObject({
    code: 2,
    err: expect.stringMatching(/^There are several backups 'both'; name one by its id:\n/),
  })

  const running = await comeback(['backups', 'restore', 'nightly'])
  expect(running).toMatchObject({
    code: 1,
    err: expect.stringMatching(/^Cannot restore in-place while attached to a running instance/),
  })
  await server.done(await server.commands.stopInstance(alice.caller, web, { mode: 'hard', graceSeconds: 0 }))
  const restored = await well(comeback(['backups', 'restore', 'nightly']))
  const [, operation = ''] = /^Restored\. To take it back: comeback undo ([0-9a-f-]{36})\n$/.exec(restored) ?? []
  await well(comeback(['undo', operation]))

  const fresh = await well(comeback(['backups', 'restore', 'nightly', '--new', 'data-then', '--size', '2GiB']))
  const [, id = ''] = /^Made: ([0-9a-f-]{36})\n$/.exec(fresh) ?? []
  expect(parsed(await comeback(['volumes', 'show', id, '-o', 'json']))).toMatchObject({
    name: 'data-then',
    size_bytes: 2 * 1024 ** 3,
  })
  expect(await well(comeback(['volumes', 'show', vda.volume]))).toMatch(/backups +2\n/)
  expect((await comeback(['backups', 'restore', 'nightly', '--pool', 'memory'])).code).toBe(2)
  expect((await comeback(['backups', 'restore', 'nightly', '--new', '--pool', 'memory'])).code).toBe(4)
  expect((await comeback(['backups', 'delete', 'nightly'], { env: as('ruth') })).code).toBe(4)
  expect(await well(comeback(['backups', 'delete', 'nightly']))).toBe('Deleted: nightly\n')
  expect((await comeback(['backups', 'show', 'nightly'])).code).toBe(2)
})

test('--no-wait returns at once; one that fails ends with 1 and says why', async () => {
  const [vda] = parsed(await comeback(['instances', 'show', 'web', '-o', 'json'])).disks
  const begun = parsed(await comeback(['volumes', 'backup', vda.volume, '--no-wait', '-o', 'json']))
  expect(begun.operation.state).toMatch(/pending|running|done/)
  await server.operations.ended(begun.operation.id)
  server.vaults.full = true
  const failed = await comeback(['volumes', 'backup', vda.volume, 'too-much'])
  server.vaults.full = false
  expect(failed).toMatchObject({ code: 1, err: expect.stringMatching(/Nothing was changed: Vault main has no room left/) })
  expect(await well(comeback(['backups', 'show', 'too-much']))).toMatch(/state +failed\nwhy +Vault main has no room left/)
})

test('a vault that is lost to the database is added with its key, from a file or from standard input, and recovered', async () => {
  const key = join(folder, 'lost.txt')
  const made = parsed(await admin(['vault', 'create', 'lost', '/srv/lost', '--default', '--save-key', key, '-o', 'json']))
  expect(made).toMatchObject({ vault: { name: 'lost' }, key_file: key })
  expect(JSON.stringify(made)).not.toContain((await readFile(key, 'utf8')).trim())
  const [, vdb] = parsed(await comeback(['instances', 'show', 'web', '-o', 'json'])).disks
  await well(comeback(['volumes', 'backup', vdb.volume, 'survivor']))
  const refused = await admin(['vault', 'remove', 'lost'])
  expect(refused).toMatchObject({ code: 1, err: expect.stringMatching(/^Vault lost cannot be removed: /) })
  await server.db.deleteFrom('backups').where('vault_id', '=', made.vault.id).execute()
  await well(admin(['vault', 'remove', 'lost']))
  expect((await comeback(['backups', 'show', 'survivor'])).code).toBe(2)

  const wrong = join(folder, 'wrong.txt')
  await writeFile(wrong, 'something-else\n')
  const denied = await admin(['vault', 'add', 'found', '/srv/lost', '--key-file', wrong])
  expect(denied).toMatchObject({ code: 1, err: expect.stringMatching(/^This recovery key does not open the vault: /) })
  expect(await admin(['vault', 'add', 'found', '/srv/lost'])).toMatchObject({
    code: 2,
    err: expect.stringMatching(/^No recovery key was given/),
  })
  const added = await well(admin(['vault', 'add', 'found', '/srv/lost'], { input: await readFile(key, 'utf8') }))
  expect(added).toBe('Added: found. To list the backups in it: comeback recover --from-vault found\n')
  expect(await well(admin(['recover', '--from-vault', 'found']))).toMatch(/backups added +1\nbackups mended +0\n/)
  expect(await well(comeback(['backups', 'show', 'survivor']))).toMatch(/state +available\n[\s\S]*vault +found\n/)
})

test('a verification that finds damage ends with 1 and names the backups', async () => {
  expect(await well(admin(['vault', 'verify', 'found']))).toMatch(/^1 backup proved, .* read\.\n$/)
  const backup = parsed(await comeback(['backups', 'show', 'survivor', '-o', 'json'])).id
  server.vaults.damaged.add(backup)
  const ran = await admin(['vault', 'verify', 'found'])
  expect(ran.code).toBe(1)
  expect(ran.out).toContain(`Damaged: packs/1.pack: a block does not read back: ${backup} (of volume `)
  expect(ran.err).toMatch(/Vault found is damaged in 1 place\.\n$/)
  expect(await well(comeback(['backups']))).toMatch(/available, DAMAGED/)
})

test('host groups', async () => {
  expect(await well(admin(['host-groups', 'create', 'rack', '--vault', 'main']))).toMatch(/rack +main +-/)
  expect(await well(admin(['host-groups', 'assign', 'memory', 'rack']))).toBe('Host memory is in group rack.\n')
  expect(await well(admin(['host-groups']))).toMatch(/rack +main +memory/)
  expect(await well(admin(['host-groups', 'change', 'rack', '--name', 'row', '--vault', 'none']))).toMatch(
    /row +the default +memory/,
  )
  expect(await well(admin(['host-groups', 'assign', 'memory', 'none']))).toBe('Host memory is in no group.\n')
  expect(await well(admin(['host-groups', 'delete', 'row']))).toBe('Deleted: row\n')
  expect((await admin(['host-groups', 'delete', 'row'])).code).toBe(2)
  expect((await comeback(['host-groups'])).code).toBe(4)
})
