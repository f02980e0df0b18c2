import { beforeAll, describe, expect, test } from 'vitest'
import { createClient } from '../../../contract/client.ts'
import { errorBody } from '../../../contract/errors.ts'
import { endpoints } from '../../../contract/index.ts'
import { vaultRecoveryResult, verificationResult } from '../../../contract/vaults.ts'
import { type NativeServer, nativeServer, type TestUser } from '../../../test/support/native-server.ts'
import type { OperationId, VaultId, VolumeId } from '../../domain/ids.ts'

const MiB = 1024 ** 2
let server: NativeServer
let alice: TestUser
let admin: TestUser

beforeAll(async () => {
  server = await nativeServer()
  alice = await server.user('alice', 'blue', 'member')
  admin = await server.user('root', 'admins', 'admin')
})

const clientOf = ({ token }: TestUser) => createClient({ url: server.url, token: async () => token, patienceMs: 0 })

async function send(user: TestUser, method: string, path: string, body?: unknown) {
  const response = await fetch(`${server.url}${path}`, {
    method,
    headers: { 'x-auth-token': user.token, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  return { status: response.status, body: (await response.json()) as unknown }
}
const codeOf = ({ body }: { body: unknown }) => errorBody.safeParse(body).data?.error.code ?? 'accepted'
const messageOf = ({ body }: { body: unknown }) => errorBody.parse(body).error.message

const make = (name: string, more: object = {}) =>
  clientOf(admin).call(endpoints.createVault, { body: { name, directory: `/srv/${name}`, ...more } })
const show = (vault: VaultId) => clientOf(admin).call(endpoints.showVault, { params: { vault } })
const ended = async ({ operation }: { readonly operation: { readonly id: OperationId } }) => {
  await server.done({ operation: operation.id })
  return await clientOf(admin).call(endpoints.showOperation, { params: { operation: operation.id } })
}

async function makeVolume(name: string): Promise<VolumeId> {
  const made = await clientOf(alice).call(endpoints.createVolume, { body: { name, source: { size_bytes: MiB } } })
  await server.done({ operation: made.operation.id })
  return made.volume
}

async function backUp(volume: VolumeId) {
  const begun = await clientOf(alice).call(endpoints.createBackup, { body: { volume } })
  await server.done({ operation: begun.operation.id })
  return await clientOf(alice).call(endpoints.showBackup, { params: { backup: begun.backup } })
}

describe('vaults', () => {
  test('the first is the default; another can be made it; names and directories are taken once', async () => {
    const first = await make('first')
    const second = await make('second', { bytes_per_second: 50 * MiB, parallel: 2 })
    expect(first.vault).toMatchObject({ default: true, parallel: 8, bytes_per_second: null })
    expect(second.vault).toMatchObject({ default: false, parallel: 2, bytes_per_second: 50 * MiB })
    const params = { vault: second.vault.id }
    const changed = await clientOf(admin).call(endpoints.changeVault, {
      params,
      body: { default: true, name: 'other', bytes_per_second: null },
    })
    expect(changed).toMatchObject({ name: 'other', default: true, bytes_per_second: null, parallel: 2 })
    expect(await show(first.vault.id)).toMatchObject({ default: false })
    expect(codeOf(await send(admin, 'PATCH', `/v1/vaults/${params.vault}`, { name: 'first' }))).toBe('nameTaken')
    expect(codeOf(await send(admin, 'POST', '/v1/vaults', { name: 'first', directory: '/srv/third' }))).toBe('nameTaken')
    const taken = await send(admin, 'POST', '/v1/vaults', { name: 'third', directory: '/srv/first' })
    expect([taken.status, codeOf(taken)]).toEqual([409, 'vaultNotEmpty'])
    const { items } = await clientOf(admin).call(endpoints.listVaults, {})
    expect(items.map(({ name }) => name)).toEqual(['first', 'other'])
  })

  test('a test writes a probe and is remembered, also when it fails', async () => {
    const { vault } = await make('tested')
    const params = { vault: vault.id }
    expect(await clientOf(admin).call(endpoints.testVault, { params })).toMatchObject({ free_bytes: expect.any(Number) })
    expect(await show(vault.id)).toMatchObject({ tested_at: expect.any(String), test_problem: null })
    server.vaults.away = true
    const failed = await send(admin, 'POST', `/v1/vaults/${vault.id}/tests`)
    server.vaults.away = false
    expect([failed.status, codeOf(failed)]).toEqual([503, 'vaultUnreachable'])
    expect(await show(vault.id)).toMatchObject({ test_problem: expect.stringMatching(/is not where it should be/) })
  })

  test('directories that are none are refused before anybody is asked', async () => {
    const before = await server.db.selectFrom('vaults').select('id').execute()
    const absurd = [
      '',
      '.',
      'relative',
      '../../etc',
      '/srv/../etc',
      '/a\u0000b',
      '/a\nb',
      `/${'x'.repeat(5000)}`,
      5,
      null,
      {},
      ['/a'],
    ]
    for (const directory of absurd) {
      const refused = await send(admin, 'POST', '/v1/vaults', { name: 'absurd', directory })
      expect([directory, refused.status, codeOf(refused)]).toEqual([directory, 400, 'malformed'])
    }
    const odd = [
      { name: '<b>x</b>' },
      { name: '' },
      { parallel: 0 },
      { parallel: 65 },
      { bytes_per_second: 1 },
      { colour: 'blue' },
    ]
    for (const more of odd) {
      const refused = await send(admin, 'POST', '/v1/vaults', { name: 'odd', directory: '/srv/odd', ...more })
      expect([more, refused.status]).toEqual([more, 400])
    }
    expect(await server.db.selectFrom('vaults').select('id').execute()).toEqual(before)
  })

  test('forgotten only when nothing in it is listed; taken in again with its key; then its backups are listed under their ids', async () => {
    const { vault, recovery_key } = await make('lasting', { default: true })
    const volume = await makeVolume('data')
    const backup = await backUp(volume)
    expect(backup.vault_name).toBe('lasting')
    const path = `/v1/vaults/${vault.id}`
    const refused = await send(admin, 'DELETE', path)
    expect([refused.status, codeOf(refused)]).toEqual([409, 'vaultInUse'])
    await server.db.deleteFrom('backups').where('vault_id', '=', vault.id).execute()
    expect((await send(admin, 'DELETE', path)).status).toBe(200)
    expect((await send(admin, 'GET', path)).status).toBe(404)

    const place = { name: 'again', directory: vault.directory }
    const wrong = await send(admin, 'POST', '/v1/vaults/add', { ...place, recovery_key: 'wrong-key' })
    expect([wrong.status, codeOf(wrong)]).toEqual([400, 'recoveryKeyRefused'])
    expect(messageOf(wrong)).not.toContain('wrong-key')
    expect((await send(admin, 'POST', '/v1/vaults/add', { ...place, directory: '/srv/none', recovery_key })).status).toBe(404)
    const added = await clientOf(admin).call(endpoints.addVault, { body: { ...place, recovery_key } })
    expect(added).toMatchObject({ id: vault.id, name: 'again', backups: 0 })
    const recovery = await ended(await clientOf(admin).call(endpoints.recoverVault, { params: { vault: vault.id } }))
    expect(vaultRecoveryResult.parse(recovery.result)).toMatchObject({ backups_added: 1, problems: [] })
    const shown = await clientOf(alice).call(endpoints.showBackup, { params: { backup: backup.id } })
    expect(shown).toMatchObject({ state: 'available', volume, name: backup.name, vault_name: 'again' })
    const twice = await ended(await clientOf(admin).call(endpoints.recoverVault, { params: { vault: vault.id } }))
    expect(vaultRecoveryResult.parse(twice.result)).toMatchObject({ backups_added: 0 })
  })

  test('a new recovery key works beside the old one, or in its place', async () => {
    const { vault, recovery_key: first } = await make('keyed')
    const path = `/v1/vaults/${vault.id}`
    const kit = async (replace: boolean) =>
      (await clientOf(admin).call(endpoints.newRecoveryKey, { params: { vault: vault.id }, body: { replace } })).recovery_key
    const addWith = async (recovery_key: string) => {
      await send(admin, 'DELETE', path)
      return codeOf(await send(admin, 'POST', '/v1/vaults/add', { name: 'keyed', directory: vault.directory, recovery_key }))
    }
    const second = await kit(false)
    expect([await addWith(first), await addWith(second)]).toEqual(['accepted', 'accepted'])
    const third = await kit(true)
    expect([await addWith(first), await addWith(second), await addWith(third)]).toEqual([
      'recoveryKeyRefused',
      'recoveryKeyRefused',
      'accepted',
    ])
  })

  test('a verification proves what is there', async () => {
    const { vault } = await make('proved', { default: true })
    await backUp(await makeVolume('sound'))
    const verified = await ended(await clientOf(admin).call(endpoints.verifyVault, { params: { vault: vault.id } }))
    expect(verificationResult.parse(verified.result)).toMatchObject({ backups: 1, damage: [] })
  })
})

test('host groups: made, given another vault, assigned, and gone; their hosts use that vault', async () => {
  const client = clientOf(admin)
  await make('usual', { default: true })
  const { vault } = await make('special')
  const { id: group } = await client.call(endpoints.createHostGroup, { body: { name: 'rack', vault: vault.id } })
  expect(codeOf(await send(admin, 'POST', '/v1/host-groups', { name: 'rack' }))).toBe('nameTaken')
  expect(codeOf(await send(admin, 'POST', '/v1/host-groups', { name: 'other', vault: crypto.randomUUID() }))).toBe('notFound')
  const [host] = (await client.call(endpoints.listHosts, {})).items
  expect(host).toMatchObject({ group: null })
  await client.call(endpoints.changeHost, { params: { host: host!.id }, body: { group } })
  expect((await client.call(endpoints.listHosts, {})).items).toMatchObject([{ group: { id: group, name: 'rack' } }])
  expect((await client.call(endpoints.listHostGroups, {})).items).toMatchObject([
    { name: 'rack', vault: { id: vault.id, name: 'special' }, hosts: ['memory'] },
  ])
  expect((await show(vault.id)).host_groups).toEqual(['rack'])
  const volume = await makeVolume('grouped')
  expect((await backUp(volume)).vault_name).toBe('special')
  expect(codeOf(await send(admin, 'DELETE', `/v1/vaults/${vault.id}`))).toBe('vaultInUse')
  const changed = await client.call(endpoints.changeHostGroup, { params: { group }, body: { name: 'row', vault: null } })
  expect(changed).toMatchObject({ name: 'row', vault: null, hosts: ['memory'] })
  expect((await backUp(volume)).vault_name).toBe('usual')
  expect((await send(admin, 'DELETE', `/v1/host-groups/${group}`)).status).toBe(200)
  expect((await client.call(endpoints.listHosts, {})).items).toMatchObject([{ group: null }])
  expect((await send(admin, 'DELETE', `/v1/host-groups/${group}`)).status).toBe(404)
  expect((await send(admin, 'PATCH', `/v1/hosts/${crypto.randomUUID()}`, { group: null })).status).toBe(404)
})
