/** Cinder's wire for backups: envelopes, status words, microversions, and Cinder's own sentences for no. */
import { randomUUID } from 'node:crypto'
import { beforeAll, describe, expect, test } from 'vitest'
import { asId, type VolumeId } from '../../src/domain/ids.ts'
import { type Answer, administrator, type Json, type Person, person } from '../support/people.ts'
import { type Product, startProduct } from '../support/product.ts'

let product: Product
let anna: Person
let otto: Person
let rita: Person
let root: Person

beforeAll(async () => {
  product = await startProduct({ volumeOperationsPerUser: 50 })
  anna = await person(product, 'anna', 'member', 'blue')
  rita = await person(product, 'rita', 'reader', 'blue')
  otto = await person(product, 'otto', 'member', 'red')
  root = await administrator(product)
  const made = await root.call('POST', '/v1/vaults', { body: { name: 'main', directory: '/srv/main' } })
  expect(made.status).toBe(200)
})

const at = (minor: number) => ({ headers: { 'openstack-api-version': `volume 3.${minor}` } })
const why = ({ json }: Answer) => json.badRequest?.message

async function volume(name: string, size = 1): Promise<string> {
  const made = await anna.call('POST', '/volume/v3/volumes', { body: { volume: { name, size } } })
  expect(made.status).toBe(202)
  return made.json.volume.id
}

async function create(backup: object, minor = 70): Promise<Json> {
  const made = await anna.call('POST', '/volume/v3/backups', { body: { backup }, ...at(minor) })
  expect(made, made.text).toMatchObject({ status: 202 })
  return made.json.backup
}
const show = async (id: string, minor = 70, who = anna) =>
  (await who.call('GET', `/volume/v3/backups/${id}`, at(minor))).json.backup

test('created with nulls as clients send them, named and linked, then shown in full', async () => {
  const volume_id = await volume('data')
  const nulls = { container: null, description: null, snapshot_id: null }
  const made = await create({ volume_id, name: 'b1', incremental: false, force: false, ...nulls }, 0)
  expect(made).toEqual({
    id: expect.any(String),
    name: 'b1',
    links: [
      { rel: 'self', href: expect.any(String) },
      { rel: 'bookmark', href: expect.any(String) },
    ],
  })
  expect(made.links[0].href).toMatch(new RegExp(`/volume/v3/${anna.project}/backups/${made.id}$`))
  const shown = await show(made.id, 0)
  expect(shown).toEqual({
    id: made.id,
    name: 'b1',
    links: made.links,
    description: null,
    status: 'available',
    fail_reason: null,
    volume_id,
    snapshot_id: null,
    size: 1,
    object_count: 0,
    container: 'main',
    availability_zone: 'nova',
    is_incremental: false,
    has_dependent_backups: false,
    data_timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]{15}$/),
    created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]{15}$/),
    updated_at: expect.any(String),
  })
})

test('fields come with their microversions, the owner only to administrators', async () => {
  const { id } = await create({ volume_id: await volume('versions'), name: 'v', metadata: { a: 'b' } })
  expect(await show(id, 42)).not.toHaveProperty('metadata')
  expect(await show(id, 43)).toMatchObject({ metadata: { a: 'b' } })
  expect(await show(id, 70)).not.toHaveProperty('os-backup-project-attr:project_id')
  const seen = await show(id, 18, root)
  expect(seen).toMatchObject({ 'os-backup-project-attr:project_id': anna.project })
  expect(seen).not.toHaveProperty('user_id')
  expect(await show(id, 56, root)).toMatchObject({ user_id: anna.user })
  const early = { volume_id: await volume('early'), metadata: {} }
  const refused = await anna.call('POST', '/volume/v3/backups', { body: { backup: early }, ...at(42) })
  expect([refused.status, why(refused)]).toEqual([400, "Additional properties are not allowed ('metadata' was unexpected)"])
  expect((await anna.call('PUT', `/volume/v3/backups/${id}`, { body: { backup: { name: 'x' } }, ...at(8) })).status).toBe(404)
})

test('lists: brief and detailed, filtered, sorted, in pages, counted; of all projects only for administrators', async () => {
  const volume_id = await volume('listed')
  const ids: string[] = []
  for (const name of ['c', 'a', 'b']) ids.push((await create({ volume_id, name })).id)
  const list = async (query: string, minor = 70, who = anna) =>
    (await who.call('GET', `/volume/v3/backups${query}`, at(minor))).json
  expect((await list(`?volume_id=${volume_id}&sort=name:asc`)).backups.map(({ name }: Json) => name)).toEqual(['a', 'b', 'c'])
  expect(Object.keys((await list(`?volume_id=${volume_id}`)).backups[0])).toEqual(['id', 'name', 'links'])
  const detail = await list(`/detail?name=a&status=available`)
  expect(detail.backups).toMatchObject([{ id: ids[1], status: 'available', size: 1 }])
  const page = await list(`/detail?volume_id=${volume_id}&limit=2&with_count=true&sort_key=name&sort_dir=asc`, 45)
  expect(page).toMatchObject({ count: 3, backups: [{ name: 'a' }, { name: 'b' }] })
  const next = new URL(page.backups_links[0].href)
  expect((await anna.call('GET', `${next.pathname}${next.search}`, at(45))).json.backups).toMatchObject([{ name: 'c' }])
  expect((await list('?marker=nonsense')).badRequest.message).toContain('marker [nonsense] not found')
  expect((await list('?all_tenants=1', 70, otto)).backups).toEqual([])
  expect((await list('?all_tenants=1', 70, root)).backups.length).toBeGreaterThanOrEqual(3)
  expect((await list('', 70, root)).backups).toEqual([])
})

describe('how it is read', () => {
  test('incremental needs one before; then it says that only changes were read, and needs nothing', async () => {
    const volume_id = await volume('growing')
    const none = await anna.call('POST', '/volume/v3/backups', { body: { backup: { volume_id, incremental: true } } })
    expect([none.status, why(none)]).toEqual([400, 'Invalid backup: No backups available to do an incremental backup.'])
    const first = await create({ volume_id, name: '1', incremental: false })
    const second = await create({ volume_id, name: '2', incremental: true })
    const third = await create({ volume_id, name: '3', incremental: 'false' })
    expect(await show(first.id)).toMatchObject({ is_incremental: false, has_dependent_backups: false })
    expect(await show(second.id)).toMatchObject({ is_incremental: true, has_dependent_backups: false })
    expect(await show(third.id)).toMatchObject({ is_incremental: false })
    expect((await anna.call('DELETE', `/volume/v3/backups/${first.id}`)).status).toBe(202)
    expect(await show(second.id)).toMatchObject({ status: 'available' })
  })

  test('of a snapshot of that volume, and of no other', async () => {
    const volume_id = await volume('pointed')
    const taken = await anna.call('POST', '/volume/v3/snapshots', { body: { snapshot: { volume_id, name: 's' } } })
    const snapshot_id = taken.json.snapshot.id
    const { id } = await create({ volume_id, snapshot_id })
    expect(await show(id)).toMatchObject({ snapshot_id, status: 'available' })
    const other = { volume_id: await volume('other'), snapshot_id }
    expect((await anna.call('POST', '/volume/v3/backups', { body: { backup: other } })).status).toBe(400)
    expect(
      (await anna.call('POST', '/volume/v3/backups', { body: { backup: { volume_id, snapshot_id: randomUUID() } } })).status,
    ).toBe(404)
  })

  test('in use: only by force', async () => {
    const volume_id = await volume('attached')
    await product.db
      .insertInto('flavors')
      .values({ id: 'f' as never, name: 'f', vcpus: 1, ram_mib: 64, disk_gib: 1, extra_specs: '{}' })
      .execute()
    const disk = { boot_index: 0, uuid: volume_id, source_type: 'volume', destination_type: 'volume' }
    const server = { name: 'vm', flavorRef: 'f', networks: 'none', block_device_mapping_v2: [disk] }
    const made = await anna.call('POST', '/compute/v2.1/servers', {
      body: { server },
      headers: { 'openstack-api-version': 'compute 2.37' },
    })
    expect(made, made.text).toMatchObject({ status: 202 })
    const vm = `/compute/v2.1/servers/${made.json.server.id}`
    await expect.poll(async () => (await anna.call('GET', vm)).json.server.status).toBe('ACTIVE')
    const refused = await anna.call('POST', '/volume/v3/backups', { body: { backup: { volume_id } } })
    expect([refused.status, why(refused)]).toEqual([
      400,
      `Invalid volume: Volume ${volume_id} status must be available, but current status is: in-use.`,
    ])
    const { id } = await create({ volume_id, force: true })
    expect(await show(id)).toMatchObject({ status: 'available' })
    const over = await anna.call('POST', `/volume/v3/backups/${id}/restore`, { body: { restore: { volume_id } } })
    expect([over.status, why(over)]).toEqual([400, 'Invalid volume: Volume to be restored to must be available'])
  })
})

describe('restored', () => {
  test('to a new volume, called as Cinder calls it or as asked; also by volume create', async () => {
    const { id } = await create({ volume_id: await volume('source'), name: 'r' })
    const restore = (body: unknown) => anna.call('POST', `/volume/v3/backups/${id}/restore`, { body })
    const made = await restore({ restore: { volume_id: null, name: null } })
    expect(made).toMatchObject({
      status: 202,
      json: { restore: { backup_id: id, volume_id: expect.any(String), volume_name: `restore_backup_${id}` } },
    })
    const shown = await anna.call('GET', `/volume/v3/volumes/${made.json.restore.volume_id}`)
    expect(shown.json.volume).toMatchObject({
      name: `restore_backup_${id}`,
      status: 'available',
      size: 1,
      description: 'auto-created_from_restore_from_backup',
    })
    expect((await restore({ restore: { name: 'mine' } })).json.restore.volume_name).toBe('mine')
    expect((await restore({ restore: null })).status).toBe(202)
    const from = { name: 'from', backup_id: id, size: 2 }
    const early = await anna.call('POST', '/volume/v3/volumes', { body: { volume: from }, ...at(46) })
    expect([early.status, why(early)]).toEqual([400, expect.stringContaining('3.47')])
    const late = await anna.call('POST', '/volume/v3/volumes', { body: { volume: from }, ...at(47) })
    expect(late).toMatchObject({ status: 202, json: { volume: { name: 'from', size: 2 } } })
  })

  test('over a volume that is available and large enough, whose content is kept; its status says what is done to it', async () => {
    const volume_id = await volume('target', 2)
    const { id } = await create({ volume_id: await volume('small'), name: 'o' })
    const { promise, resolve } = Promise.withResolvers<void>()
    product.mover.gate = (what) => (what === 'restore' ? promise : Promise.resolve())
    const asked = anna.call('POST', `/volume/v3/backups/${id}/restore`, { body: { restore: { volume_id } } })
    const status = async (path: string) =>
      (await anna.call('GET', `/volume/v3/${path}`)).json[path.startsWith('b') ? 'backup' : 'volume'].status
    await expect.poll(() => status(`volumes/${volume_id}`)).toBe('restoring-backup')
    expect(await status(`backups/${id}`)).toBe('restoring')
    const deleted = await anna.call('DELETE', `/volume/v3/backups/${id}`)
    expect([deleted.status, why(deleted)]).toEqual([400, 'Invalid backup: Backup status must be available or error'])
    resolve()
    expect(await asked).toMatchObject({ status: 202, json: { restore: { backup_id: id, volume_id, volume_name: 'target' } } })
    product.mover.gate = async () => {}
    await expect.poll(() => status(`volumes/${volume_id}`)).toBe('available')
    const kept = await anna.call('GET', `/volume/v3/snapshots?volume_id=${volume_id}`)
    expect(kept.json.snapshots).toMatchObject([{ name: expect.stringMatching(/^_xloud_safety_/) }])
    const { id: large } = await create({ volume_id, name: 'l' })
    const small = await volume('too small')
    const refused = await anna.call('POST', `/volume/v3/backups/${large}/restore`, { body: { restore: { volume_id: small } } })
    expect([refused.status, why(refused)]).toEqual([
      400,
      'Invalid volume: volume size 1 is too small to restore backup of size 2.',
    ])
  })

  test('not one that failed, nor to a volume that is not there', async () => {
    const volume_id = await volume('unlucky')
    product.vaults.full = true
    const { id } = await create({ volume_id, name: 'f' })
    product.vaults.full = false
    expect(await show(id)).toMatchObject({ status: 'error', fail_reason: expect.stringMatching(/no room left/) })
    const restore = (of: string, restore: object) =>
      anna.call('POST', `/volume/v3/backups/${of}/restore`, { body: { restore } })
    const refused = await restore(id, {})
    expect([refused.status, why(refused)]).toEqual([400, 'Invalid backup: Backup status must be available'])
    const { id: good } = await create({ volume_id, name: 'g' })
    expect((await restore(good, { volume_id: randomUUID() })).status).toBe(404)
    expect((await anna.call('DELETE', `/volume/v3/backups/${id}`)).status).toBe(202)
  })
})

test('changed: name, description and metadata; its state only by administrators, and never to what it is not', async () => {
  const volume_id = await volume('changed')
  const { id } = await create({ volume_id, name: 'x' })
  const put = (backup: object, who = anna) => who.call('PUT', `/volume/v3/backups/${id}`, { body: { backup }, ...at(43) })
  expect(await put({ name: 'y', description: 'd', metadata: { k: 'v' } })).toMatchObject({
    status: 200,
    json: { backup: { id, name: 'y' } },
  })
  expect(await show(id)).toMatchObject({ name: 'y', description: 'd', metadata: { k: 'v' } })
  const act = (body: object, who = root, of = id) => who.call('POST', `/volume/v3/backups/${of}/action`, { body })
  expect((await act({ 'os-reset_status': { status: 'error' } }, anna)).status).toBe(403)
  expect((await act({ 'os-reset_status': { status: 'error' } })).status).toBe(202)
  expect(await show(id)).toMatchObject({ status: 'error' })
  expect((await act({ 'os-reset_status': { status: 'available' } })).status).toBe(202)
  expect(await show(id)).toMatchObject({ status: 'available' })
  expect(why(await act({ 'os-reset_status': { status: 'creating' } }))).toContain('Only available and error can be set')
  expect(why(await act({ 'os-force_delete': {} }))).toBe('There is no such action: os-force_delete')
  product.vaults.full = true
  const failed = await create({ volume_id, name: 'never whole' })
  product.vaults.full = false
  expect(why(await act({ 'os-reset_status': { status: 'available' } }, root, failed.id))).toContain(
    'holds nothing that could be called available',
  )
})

test('what clients ask around them: limits, quotas, services, records', async () => {
  const { json: limits } = await anna.call('GET', '/volume/v3/limits')
  expect(limits.limits.absolute).toMatchObject({ maxTotalBackups: -1, totalBackupsUsed: expect.any(Number) })
  expect(limits.limits.absolute.totalBackupsUsed).toBeGreaterThan(0)
  const { json: quotas } = await anna.call('GET', `/volume/v3/os-quota-sets/${anna.project}?usage=true`)
  expect(quotas.quota_set.backups).toMatchObject({ limit: -1, in_use: limits.limits.absolute.totalBackupsUsed })
  const { json: services } = await root.call('GET', '/volume/v3/os-services')
  expect(services.services).toContainEqual(expect.objectContaining({ binary: 'cinder-backup', host: 'main', state: 'up' }))
  expect((await anna.call('GET', `/volume/v3/backups/${randomUUID()}/export_record`)).status).toBe(404)
})

test('readers read; what belongs to another project is not there; names are not ids; markup is text', async () => {
  const volume_id = await volume('mine')
  const { id } = await create({ volume_id, name: '<script>alert(1)</script>' })
  expect(await show(id, 70, rita)).toMatchObject({ name: '<script>alert(1)</script>' })
  const before = await product.db.selectFrom('operations').select('id').execute()
  const attempts: [string, string, object?][] = [
    ['POST', '/volume/v3/backups', { backup: { volume_id } }],
    ['PUT', `/volume/v3/backups/${id}`, { backup: { name: 'stolen' } }],
    ['DELETE', `/volume/v3/backups/${id}`],
    ['POST', `/volume/v3/backups/${id}/restore`, { restore: {} }],
    ['POST', `/volume/v3/backups/${id}/action`, { 'os-reset_status': { status: 'error' } }],
  ]
  for (const [method, path, body] of attempts) {
    const of = (who: Person) => who.call(method, path, { ...(body ? { body } : {}), ...at(70) })
    expect((await of(rita)).status, `${method} ${path}`).toBe(403)
    const foreign = await of(otto)
    expect(foreign.status, `${method} ${path}`).toBe(404)
    expect(foreign.json.itemNotFound.message).toMatch(/^(Volume|Backup) [0-9a-f-]+ could not be found\.$/)
  }
  expect((await anna.call('GET', '/volume/v3/backups/b1')).status).toBe(404)
  const bad = [
    { volume_id: 5 },
    { volume_id, name: 'a\u0007b' },
    { volume_id, force: 'perhaps' },
    { volume_id, container: 'mine' },
    { volume_id, availability_zone: 'mars' },
    { volume_id, surprise: 1 },
    {},
  ]
  for (const backup of bad) {
    const answer = await anna.call('POST', '/volume/v3/backups', { body: { backup }, ...at(70) })
    expect(answer.status, JSON.stringify(backup)).toBe(400)
  }
  expect(await product.db.selectFrom('operations').select('id').execute()).toHaveLength(before.length)
  expect(
    await product.db.selectFrom('backups').select('name').where('volume_id', '=', asId<VolumeId>(volume_id)).execute(),
  ).toHaveLength(1)
})

test('none of this was an error of ours', () => {
  expect(product.logged.filter((line) => line.includes('"level":50'))).toEqual([])
})
