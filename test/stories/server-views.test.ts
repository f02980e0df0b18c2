/** What a server looks like at each microversion that changed it, and what only an administrator sees. */
import { beforeAll, expect, test } from 'vitest'
import { makeFlavor, makeServer, serverWhen, until } from '../support/first-server.ts'
import { administrator, type Call, callWith, type Person, person } from '../support/people.ts'
import { type Product, startProduct } from '../support/product.ts'

let product: Product
let admin: Person
let anna: Person
let id: string
let data: string
beforeAll(async () => {
  product = await startProduct()
  admin = await administrator(product)
  anna = await person(product, 'anna', 'member', 'blue')
  await makeFlavor(admin.call)
  const made = await makeServer(anna.call, 'vm', { metadata: { a: 'b' } })
  id = made.id
  data = made.data
})

const at = (minor: number) => ({ 'openstack-api-version': `compute 2.${minor}` })
const shown = async (call: Call, minor: number) =>
  (await call('GET', `/compute/v2.1/servers/${id}`, { headers: at(minor) })).json.server

/** Fields by the microversion that brought them. */
const fresh: Readonly<Record<string, number>> = {
  locked: 9,
  description: 19,
  tags: 26,
  trusted_image_certificates: 63,
  server_groups: 71,
  locked_reason: 73,
  'OS-EXT-SRV-ATTR:hostname': 90,
}

test('each field appears with its microversion, not before', async () => {
  for (const [field, minor] of Object.entries(fresh)) {
    expect(await shown(anna.call, minor - 1), `${field} at 2.${minor - 1}`).not.toHaveProperty([field])
    expect(await shown(anna.call, minor), `${field} at 2.${minor}`).toHaveProperty([field])
  }
})

test('the flavor is a link up to 2.46 and whole from 2.47 on', async () => {
  expect((await shown(anna.call, 46)).flavor).toMatchObject({ id: 'tiny', links: [{ rel: 'bookmark' }] })
  expect((await shown(anna.call, 47)).flavor).toEqual({
    original_name: 'tiny',
    vcpus: 1,
    ram: 64,
    disk: 1,
    ephemeral: 0,
    swap: 0,
    extra_specs: {},
  })
})

test('attached volumes tell from 2.3 on whether they go with the server', async () => {
  expect((await shown(anna.call, 1))['os-extended-volumes:volumes_attached'][1]).toEqual({ id: data })
  expect((await shown(anna.call, 3))['os-extended-volumes:volumes_attached'][1]).toEqual({
    id: data,
    delete_on_termination: false,
  })
})

test('where it runs is for administrators only', async () => {
  expect(
    Object.keys(await shown(anna.call, 95)).filter((name) => /SRV-ATTR:(host$|hypervisor|instance)|host_status/.test(name)),
  ).toEqual([])
  expect(await shown(admin.call, 16)).toMatchObject({
    'OS-EXT-SRV-ATTR:host': 'memory',
    host_status: 'UP',
    'OS-EXT-SRV-ATTR:root_device_name': '/dev/vda',
  })
  expect(await shown(admin.call, 2)).not.toHaveProperty(['OS-EXT-SRV-ATTR:root_device_name'])
})

test('attachments at 2.1, 2.70, 2.79 and 2.89', async () => {
  const at2 = async (minor: number) =>
    (await anna.call('GET', `/compute/v2.1/servers/${id}/os-volume_attachments/${data}`, { headers: at(minor) })).json
      .volumeAttachment
  const base = { volumeId: data, serverId: id, device: '/dev/vdb' }
  expect(await at2(1)).toEqual({ id: data, ...base })
  expect(await at2(70)).toEqual({ id: data, ...base, tag: null })
  expect(await at2(79)).toEqual({ id: data, ...base, tag: null, delete_on_termination: false })
  expect(Object.keys(await at2(89)).sort()).toEqual([
    'attachment_id',
    'bdm_uuid',
    'delete_on_termination',
    'device',
    'serverId',
    'tag',
    'volumeId',
  ])
})

test('an instance snapshot answers with a Location before 2.45 and with its id from then on', async () => {
  const take = (minor: number, name: string) =>
    anna.call('POST', `/compute/v2.1/servers/${id}/action`, { body: { createImage: { name } }, headers: at(minor) })
  const old = await take(44, 'old')
  expect(old).toMatchObject({ status: 202, text: '' })
  expect(old.headers['location']).toMatch(/^http:.*\/images\/[0-9a-f-]{36}$/)
  await serverWhen(anna.call, id, 'ACTIVE')
  expect((await take(45, 'new')).json).toEqual({ image_id: expect.stringMatching(/^[0-9a-f-]{36}$/) })
  await serverWhen(anna.call, id, 'ACTIVE')
})

test('networks must be named from 2.37 on, and what came later is refused before', async () => {
  const create = (minor: number, server: object) =>
    anna.call('POST', '/compute/v2.1/servers', {
      body: { server: { name: 'x', flavorRef: 'tiny', imageRef: '0a6ab9d5-8a4c-4d4c-8c22-d0c1a1c1c1c1', ...server } },
      headers: at(minor),
    })
  expect((await create(37, {})).json.badRequest.message).toContain("'networks' is a required property")
  expect((await create(36, { networks: 'auto' })).status).toBe(400)
  expect((await create(51, { tags: ['a'], networks: 'none' })).json.badRequest.message).toContain("('tags' was unexpected")
  expect((await create(18, { description: 'x' })).status).toBe(400)
  for (const server of [
    { config_drive: 'perhaps' },
    { security_groups: [{ name: 'other' }] },
    { adminPass: 'x' },
    { personality: [{ path: '/x', contents: '' }] },
  ])
    expect((await create(1, server)).status, JSON.stringify(server)).toBe(400)
})

test('several at once are numbered; pages follow one another', async () => {
  const image = (await anna.call('GET', '/image/v2/images')).json.images.find(
    ({ name }: { name: string }) => name === 'disk',
  ).id
  const server = { name: 'many', flavorRef: 'tiny', imageRef: image, min_count: 2, max_count: 2 }
  expect((await anna.call('POST', '/compute/v2.1/servers', { body: { server } })).status).toBe(202)
  const names = (json: { servers: { name: string }[] }) => json.servers.map(({ name }) => name)
  const all = await until('both are active', async () => {
    const { json } = await anna.call('GET', '/compute/v2.1/servers?name=many&status=ACTIVE&sort_key=display_name&sort_dir=asc')
    return json.servers.length === 2 && json
  })
  expect(names(all)).toEqual(['many-1', 'many-2'])
  const first = await anna.call('GET', '/compute/v2.1/servers?name=many&sort_key=display_name&sort_dir=asc&limit=1')
  expect(names(first.json)).toEqual(['many-1'])
  const next = new URL(first.json.servers_links[0].href)
  expect(names((await anna.call('GET', `${next.pathname}${next.search}`)).json)).toEqual(['many-2'])
})

test('health and figures need no token and tell about operations', async () => {
  const nobody = callWith(product, null)
  expect(await nobody('GET', '/healthz')).toMatchObject({
    status: 200,
    json: { status: 'ok', agents: { configured: 1, met: 1 } },
  })
  const { text, status } = await nobody('GET', '/metrics')
  expect(status).toBe(200)
  expect(text).toMatch(/^comeback_operations\{state="done"\} [1-9]/m)
  expect(text).toMatch(/^comeback_operations\{state="stuck"\} 0/m)
  expect(text).toMatch(/^comeback_pool_bytes\{pool="memory",kind="free"\} \d/m)
  expect(text).toMatch(/^comeback_http_requests_total\{method="POST",route="\/compute\/v2.1\/servers",status="202"\} \d/m)
})
