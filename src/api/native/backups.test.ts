import { beforeAll, describe, expect, test } from 'vitest'
import { createClient } from '../../../contract/client.ts'
import { errorBody } from '../../../contract/errors.ts'
import { endpoints } from '../../../contract/index.ts'
import { type NativeServer, nativeServer, type TestUser } from '../../../test/support/native-server.ts'
import type { BackupId, InstanceId, OperationId, VolumeId } from '../../domain/ids.ts'

const MiB = 1024 ** 2
let server: NativeServer
let alice: TestUser
let admin: TestUser

beforeAll(async () => {
  server = await nativeServer({ volumeOperationsPerUser: 50 })
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
  const answer: unknown = await response.json()
  return { status: response.status, headers: response.headers, body: answer }
}
const codeOf = ({ body }: { body: unknown }) => errorBody.safeParse(body).data?.error.code ?? 'accepted'
const messageOf = ({ body }: { body: unknown }) => errorBody.parse(body).error.message

type Begun = { readonly operation: { readonly id: OperationId } }
const ended = ({ operation }: Begun) => server.done({ operation: operation.id })

async function makeVolume(name: string, more: object = {}): Promise<VolumeId> {
  const made = await clientOf(alice).call(endpoints.createVolume, { body: { name, source: { size_bytes: MiB }, ...more } })
  await ended(made)
  return made.volume
}

async function backUp(volume: VolumeId, name?: string, more: object = {}): Promise<BackupId> {
  const begun = await clientOf(alice).call(endpoints.createBackup, { body: { volume, ...(name ? { name } : {}), ...more } })
  await ended(begun)
  return begun.backup
}

const show = (backup: BackupId, user = alice) => clientOf(user).call(endpoints.showBackup, { params: { backup } })
const showVolume = (volume: VolumeId) => clientOf(alice).call(endpoints.showVolume, { params: { volume } })

/** What a volume holds, block by block. */
async function contentOf(volume: VolumeId) {
  const { head_layer_id: head } = await server.db
    .selectFrom('volumes')
    .select('head_layer_id')
    .where('id', '=', volume)
    .executeTakeFirstOrThrow()
  return { write: (block: number, byte: number) => server.pool.write(head, block, byte), read: () => server.pool.read(head) }
}

test('without a vault: no backup, and the sentence says what to do', async () => {
  const volume = await makeVolume('homeless')
  const refused = await send(alice, 'POST', '/v1/backups', { volume })
  expect(refused.status).toBe(409)
  expect(messageOf(refused)).toMatch(/^Hypervisor has no backup storage configured\. An administrator makes a vault/)
  expect(await showVolume(volume)).toMatchObject({ active_operation: null, backups: 0 })
})

describe('with a vault', () => {
  let recoveryKey: string
  beforeAll(async () => {
    const made = await send(admin, 'POST', '/v1/vaults', { name: 'main', directory: '/srv/main' })
    expect(made.status).toBe(200)
    expect(made.headers.get('cache-control')).toBe('no-store')
    const { vault, recovery_key } = endpoints.createVault.answer.parse(made.body)
    expect(vault).toMatchObject({ name: 'main', directory: '/srv/main', default: true, backups: 0, bytes_per_second: null })
    recoveryKey = recovery_key
  })

  test('a backup from pending to available: the volume is busy with it, an instance rollback goes through meanwhile', async () => {
    const instance = await server.instance(alice, 'busy', 1)
    const { disks } = await clientOf(alice).call(endpoints.showInstance, { params: { instance } })
    const { volume } = disks[0]!
    const taken = await clientOf(alice).call(endpoints.takeInstanceSnapshot, { params: { instance }, body: { name: 'A' } })
    await ended(taken)
    const { promise, resolve } = Promise.withResolvers<void>()
    server.mover.gate = () => promise
    const begun = await clientOf(alice).call(endpoints.createBackup, { body: { volume, name: 'nightly' } })
    expect(['pending', 'creating']).toContain((await show(begun.backup)).state)
    await expect.poll(async () => (await show(begun.backup)).state).toBe('creating')
    expect(await showVolume(volume)).toMatchObject({ active_operation: 'backup', busy_with: null })
    const second = await send(alice, 'POST', '/v1/backups', { volume })
    expect([second.status, messageOf(second)]).toEqual([409, 'Volume is busy with operation: backup'])
    expect(codeOf(await send(alice, 'POST', '/v1/volume-snapshots', { volume }))).toBe('volumeBusy')
    await ended(
      await clientOf(alice).call(endpoints.rollBackInstance, {
        params: { instance },
        body: { to: { instance_snapshot: taken.snapshot } },
      }),
    )
    resolve()
    await ended(begun)
    server.mover.gate = async () => {}
    expect(await show(begun.backup)).toMatchObject({
      name: 'nightly',
      state: 'available',
      volume,
      volume_exists: true,
      vault_name: 'main',
      instance: { id: instance, name: 'busy', device: 'vda' },
      consistency: 'crash',
      changes_since: null,
      read_all_because: expect.stringMatching(/./),
      damage: null,
    })
    expect(await showVolume(volume)).toMatchObject({ active_operation: null, backups: 1 })
  })

  test('progress comes as events: bytes, rate and remaining time', async () => {
    const volume = await makeVolume('watched')
    const content = await contentOf(volume)
    content.write(1, 7)
    const begun = await clientOf(alice).call(endpoints.createBackup, { body: { volume } })
    const seen: Record<string, unknown>[] = []
    const request = { params: { operation: begun.operation.id } }
    for await (const { type, data } of clientOf(alice).follow(endpoints.watchOperation, request))
      if (type === 'progress') seen.push(data)
    expect(seen.at(-1)).toMatchObject({
      step: 'write',
      done_bytes: MiB,
      total_bytes: MiB,
      bytes_per_second: expect.any(Number),
      remaining_seconds: 0,
    })
  })

  test('points of backups are shown as snapshots nowhere, and cannot be used as such', async () => {
    const volume = await makeVolume('hidden')
    const backup = await backUp(volume)
    const row = await server.db.selectFrom('backups').select('snapshot_id').where('id', '=', backup).executeTakeFirstOrThrow()
    expect(row.snapshot_id).not.toBeNull()
    expect((await clientOf(alice).call(endpoints.listVolumeSnapshots, { query: { volume } })).items).toEqual([])
    expect(await showVolume(volume)).toMatchObject({ snapshots: 0, backups: 1 })
    expect((await send(alice, 'GET', `/v1/volume-snapshots/${row.snapshot_id}`)).status).toBe(404)
    const restore = { snapshot: row.snapshot_id, confirm: 'hidden' }
    expect((await send(alice, 'POST', `/v1/volumes/${volume}/restores`, restore)).status).toBe(404)
    expect((await send(alice, 'POST', '/v1/volumes', { source: { snapshot: row.snapshot_id } })).status).toBe(404)
    const cinder = `/volume/v3/snapshots/${row.snapshot_id}`
    expect((await send(alice, 'GET', cinder)).status).toBe(404)
    expect((await send(alice, 'GET', `/volume/v3/snapshots/detail?volume_id=${volume}`)).body).toEqual({ snapshots: [] })
  })

  test('in place: the name is typed, what was there is kept, and undo brings it back', async () => {
    const volume = await makeVolume('precious')
    const content = await contentOf(volume)
    content.write(3, 1)
    const then = content.read()
    const backup = await backUp(volume, 'then')
    ;(await contentOf(volume)).write(3, 2)
    const now = (await contentOf(volume)).read()
    const path = `/v1/volumes/${volume}/restores`
    expect(codeOf(await send(alice, 'POST', path, { backup, confirm: 'precius' }))).toBe('notConfirmed')
    expect(codeOf(await send(alice, 'POST', path, { backup }))).toBe('malformed')
    const both = { backup, snapshot: backup, confirm: 'precious' }
    expect(messageOf(await send(alice, 'POST', path, both))).toMatch(/Give either a snapshot or a backup/)
    const body = { backup, confirm: 'precious' }
    const restored = await clientOf(alice).call(endpoints.restoreVolume, { params: { volume }, body })
    await ended(restored)
    expect((await contentOf(volume)).read()).toEqual(then)
    const params = { operation: restored.operation.id }
    await ended(await clientOf(alice).call(endpoints.undoOperation, { params, body: {} }))
    expect((await contentOf(volume)).read()).toEqual(now)
  })

  test('while it is restored the backup says so, and cannot be deleted', async () => {
    const volume = await makeVolume('slowly')
    const backup = await backUp(volume, 'slow')
    const { promise, resolve } = Promise.withResolvers<void>()
    server.mover.gate = (what) => (what === 'restore' ? promise : Promise.resolve())
    const made = await clientOf(alice).call(endpoints.createVolume, { body: { source: { backup } } })
    await expect.poll(async () => (await show(backup)).state).toBe('restoring')
    expect(await showVolume(made.volume)).toMatchObject({ state: 'creating', busy_with: { kind: 'create-volume' } })
    const deleted = await send(alice, 'DELETE', `/v1/backups/${backup}?confirm=slow`)
    expect([deleted.status, codeOf(deleted)]).toEqual([409, 'resourceBusy'])
    resolve()
    await ended(made)
    server.mover.gate = async () => {}
    expect((await show(backup)).state).toBe('available')
  })

  test('refused while attached to a running instance, with the way out', async () => {
    const instance = await server.instance(alice, 'running', 1)
    const { disks } = await clientOf(alice).call(endpoints.showInstance, { params: { instance } })
    const { volume, name } = disks[0]!
    const backup = await backUp(volume)
    const refused = await send(alice, 'POST', `/v1/volumes/${volume}/restores`, { backup, confirm: name })
    expect(refused.status).toBe(409)
    expect(messageOf(refused)).toMatch(
      /^Cannot restore in-place while attached to a running instance\. Stop instance .* new volume\.$/,
    )
  })

  test('to a new volume: name and plan of the old one, or others; larger, not smaller; also when the old one is gone', async () => {
    const client = clientOf(alice)
    const plan = (await clientOf(admin).call(endpoints.createPlan, { body: { name: 'kept', cooldown_seconds: 0 } })).id
    const volume = await makeVolume('parent', { plan })
    ;(await contentOf(volume)).write(0, 9)
    const holds = (await contentOf(volume)).read()
    const backup = await backUp(volume)
    const { pool } = await showVolume(volume)
    const source = { backup }
    const same = await client.call(endpoints.createVolume, { body: { source } })
    const other = await client.call(endpoints.createVolume, {
      body: { source: { backup, size_bytes: 2 * MiB, pool }, name: 'child', plan: null },
    })
    for (const begun of [same, other]) await ended(begun)
    expect(await showVolume(same.volume)).toMatchObject({ name: 'parent', plan, size_bytes: MiB, state: 'ready' })
    expect(await showVolume(other.volume)).toMatchObject({ name: 'child', plan: null, size_bytes: 2 * MiB })
    expect((await contentOf(same.volume)).read()).toEqual(holds)
    const smaller = await send(alice, 'POST', '/v1/volumes', { source: { backup, size_bytes: 512 } })
    expect(codeOf(smaller)).toBe('volumeTooSmall')
    const nowhere = await send(alice, 'POST', '/v1/volumes', { source: { backup, pool: crypto.randomUUID() } })
    expect(codeOf(nowhere)).toBe('notFound')
    await ended(await client.call(endpoints.deleteVolume, { params: { volume } }))
    expect(await show(backup)).toMatchObject({ state: 'available', volume_exists: false, volume_name: 'parent' })
    const again = await client.call(endpoints.createVolume, { body: { source } })
    await ended(again)
    expect((await contentOf(again.volume)).read()).toEqual(holds)
  })

  test('what does not fit in place is refused and offered as a new volume', async () => {
    const large = await clientOf(alice).call(endpoints.createVolume, {
      body: { name: 'large', source: { size_bytes: 2 * MiB } },
    })
    await ended(large)
    const volume = await makeVolume('small')
    const backup = await backUp(large.volume)
    const refused = await send(alice, 'POST', `/v1/volumes/${volume}/restores`, { backup, confirm: 'small' })
    expect([refused.status, codeOf(refused)]).toEqual([400, 'backupLarger'])
    expect(messageOf(refused)).toContain('Restore it to a new volume instead')
  })

  test('a damaged backup: nothing changed, and the ones it touches are named', async () => {
    const volume = await makeVolume('rotten')
    const backup = await backUp(volume)
    server.vaults.damaged.add(backup)
    const body = { backup, confirm: 'rotten' }
    const begun = await clientOf(alice).call(endpoints.restoreVolume, { params: { volume }, body })
    const { state, problem } = await server.operations.ended(begun.operation.id)
    expect([state, problem?.code]).toEqual(['undone', 'backupDamaged'])
    expect(problem?.message).toContain(backup)
    const verified = await clientOf(admin).call(endpoints.verifyVault, {
      params: { vault: (await clientOf(admin).call(endpoints.listVaults, {})).items[0]!.id },
    })
    await ended(verified)
    expect(await show(backup)).toMatchObject({ damage: expect.stringMatching(/packs/), verified_at: expect.any(String) })
    expect((await clientOf(admin).call(endpoints.listVaults, {})).items[0]).toMatchObject({ damaged_backups: 1 })
    server.vaults.damaged.delete(backup)
  })

  test('a failed one says why, counts for no cap and starts no cooldown', async () => {
    const plan = (
      await clientOf(admin).call(endpoints.createPlan, { body: { name: 'tight', max_backups: 1, cooldown_seconds: 300 } })
    ).id
    const volume = await makeVolume('unlucky', { plan })
    server.vaults.full = true
    const failed = await clientOf(alice).call(endpoints.createBackup, { body: { volume } })
    await server.operations.ended(failed.operation.id)
    server.vaults.full = false
    expect(await show(failed.backup)).toMatchObject({ state: 'failed', fail_reason: expect.stringMatching(/no room left/) })
    await backUp(volume, 'lucky')
    const soon = await send(alice, 'POST', '/v1/backups', { volume })
    expect(soon.status).toBe(429)
    const { facts } = errorBody.parse(soon.body).error
    expect(soon.headers.get('retry-after')).toBe(String(facts?.['retry_after_seconds']))
    expect(messageOf(soon)).toBe(`Volume is in cooldown. Try again in ${facts?.['retry_after_seconds']} seconds.`)
    await server.db
      .updateTable('volumes')
      .set({ cooldown_until: new Date(0) })
      .where('id', '=', volume)
      .execute()
    const full = await send(alice, 'POST', '/v1/backups', { volume })
    expect([full.status, messageOf(full)]).toEqual([413, 'Backup limit reached. Delete an existing backup first.'])
  })

  test('all disks of an instance at one moment; lists by instance, volume and name', async () => {
    const client = clientOf(alice)
    const instance: InstanceId = await server.instance(alice, 'pair', 2)
    const { backups } = await client.call(endpoints.backUpInstance, { params: { instance }, body: { name: 'pair-1' } })
    expect(backups).toHaveLength(2)
    for (const { operation } of backups) await server.done({ operation })
    const byInstance = await client.call(endpoints.listBackups, { query: { instance } })
    expect(byInstance.items.map(({ instance: of, name }) => [of?.device, name]).toSorted()).toEqual([
      ['vda', 'pair-1'],
      ['vdb', 'pair-1'],
    ])
    const [{ volume }] = backups as [(typeof backups)[0]]
    expect((await client.call(endpoints.listBackups, { query: { volume } })).items).toHaveLength(1)
    expect((await client.call(endpoints.listBackups, { query: { name: 'pair-1' } })).items).toHaveLength(2)
    const one = await client.call(endpoints.backUpInstance, { params: { instance }, body: { disks: ['vdb'] } })
    for (const { operation } of one.backups) await server.done({ operation })
    expect((await show(one.backups[0]!.backup)).name).toMatch(/^backup-\d{4}/)
    const nothing = await send(alice, 'POST', `/v1/instances/${instance}/backups`, { disks: ['vdz'] })
    expect(nothing.status).toBe(400)
  })

  test('of a snapshot; renamed; deleted with its name typed', async () => {
    const client = clientOf(alice)
    const volume = await makeVolume('renamed')
    const taken = await client.call(endpoints.takeVolumeSnapshot, { body: { volume, name: 's' } })
    await ended(taken)
    const backup = await backUp(volume, 'first', { snapshot: taken.snapshot, metadata: { why: 'test' } })
    expect(await show(backup)).toMatchObject({ snapshot: taken.snapshot, metadata: { why: 'test' } })
    const changed = await client.call(endpoints.changeBackup, {
      params: { backup },
      body: { name: 'second', description: 'd' },
    })
    expect(changed).toMatchObject({ name: 'second', description: 'd', metadata: { why: 'test' } })
    expect(codeOf(await send(alice, 'DELETE', `/v1/backups/${backup}?confirm=first`))).toBe('notConfirmed')
    expect(codeOf(await send(alice, 'DELETE', `/v1/backups/${backup}`))).toBe('malformed')
    await ended(await client.call(endpoints.deleteBackup, { params: { backup }, query: { confirm: 'second' } }))
    expect((await send(alice, 'GET', `/v1/backups/${backup}`)).status).toBe(404)
    const foreign = await makeVolume('foreign')
    const mismatched = await send(alice, 'POST', '/v1/backups', { volume: foreign, snapshot: taken.snapshot })
    expect(mismatched.status).toBe(400)
  })

  test('the recovery key was answered once: it is in no list, no log, no audit entry and no operation', async () => {
    const [vault] = (await clientOf(admin).call(endpoints.listVaults, {})).items
    const kit = await send(admin, 'POST', `/v1/vaults/${vault!.id}/recovery-keys`, {})
    const { recovery_key } = endpoints.newRecoveryKey.answer.parse(kit.body)
    for (const key of [recoveryKey, recovery_key]) {
      expect(key.length).toBeGreaterThan(20)
      const places = [
        server.logged.join('\n'),
        JSON.stringify((await send(admin, 'GET', '/v1/vaults')).body),
        JSON.stringify((await send(admin, 'GET', '/v1/audit?limit=1000')).body),
        JSON.stringify(await server.db.selectFrom('operations').select(['params', 'result']).execute()),
        JSON.stringify(await server.db.selectFrom('operation_steps').select('output').execute()),
      ]
      for (const place of places) expect(place).not.toContain(key)
    }
  })
})
