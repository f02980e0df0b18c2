/**
 * A rollback changes bytes on disks and nothing else. Everything that the documentation calls preserved is compared before and
 * after, field by field, as its owner sees it.
 */
import { beforeAll, expect, test } from 'vitest'
import { makeFlavor, makeServer, makeSnapshot, serverWhen } from '../support/first-server.ts'
import { administrator, type Call, type Json, type Person, person } from '../support/people.ts'
import { startProduct } from '../support/product.ts'

const newest = { 'openstack-api-version': 'compute 2.95, volume 3.70' }
const publicKey = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKqtlWFTeQ2bLkVuM3lIvdU7xxDXQEPzJ7n3v7t0Zf somebody'

let admin: Person
let anna: Person
let server: { id: string; data: string }
let snapshots: { A: string; B: string }
beforeAll(async () => {
  const product = await startProduct()
  admin = await administrator(product)
  await makeFlavor(admin.call)
  anna = await person(product, 'anna', 'member', 'blue')
  await anna.call('POST', '/compute/v2.1/os-keypairs', { body: { keypair: { name: 'key', public_key: publicKey } } })
  server = await makeServer(anna.call, 'vm', {
    metadata: { a: 'b' },
    key_name: 'key',
    user_data: Buffer.from('hello').toString('base64'),
  })
  const one = `/compute/v2.1/servers/${server.id}`
  await anna.call('PUT', one, { body: { server: { description: 'a text' } }, headers: newest })
  await anna.call('PUT', `${one}/tags`, { body: { tags: ['x', 'y'] }, headers: newest })
  snapshots = { A: await makeSnapshot(anna.call, server.id, 'A'), B: await makeSnapshot(anna.call, server.id, 'B') }
})

const get = async (call: Call, path: string): Promise<Json> => {
  const { status, json, text } = await call('GET', path, { headers: newest })
  expect(status, `${path} ${text}`).toBe(200)
  return json
}

/** Times of the last change, what was attached when, and the metadata that Cinder shows of a copy's source: not what is preserved. */
const without = (fields: readonly string[], value: Json): Json =>
  Array.isArray(value)
    ? value.map((each) => without(fields, each))
    : value !== null && typeof value === 'object'
      ? Object.fromEntries(
          Object.entries(value)
            .filter(([name]) => !fields.includes(name))
            .map(([name, each]) => [name, without(fields, each)]),
        )
      : value

/** The rows of the documentation's table "Preserved", each as all that can be seen of it. */
async function preserved() {
  const { server: seen } = await get(admin.call, `/compute/v2.1/servers/${server.id}`)
  const own = (await get(anna.call, `/compute/v2.1/servers/${server.id}`)).server
  const at = `/compute/v2.1/servers/${server.id}`
  return {
    'Instance UUID': seen.id,
    'Display name': seen.name,
    Flavor: seen.flavor,
    'Fixed IPs and ports': [
      seen.addresses,
      await get(anna.call, `${at}/os-interface`),
      await get(anna.call, `/network/v2.0/ports?device_id=${server.id}`),
    ],
    'SSH key pair': [seen.key_name, await get(anna.call, '/compute/v2.1/os-keypairs/key')],
    'Server metadata, tags, descriptions': [seen.metadata, seen.tags, seen.description],
    'Volume attachments and device names': await get(anna.call, `${at}/os-volume_attachments`),
    'Volumes as Cinder sees them': without(['updated_at'], (await get(anna.call, '/volume/v3/volumes/detail')).volumes),
    'everything else of the server': without(['updated', 'OS-SRV-USG:launched_at'], [seen, own]),
  }
}

/** Not there yet: as soon as there is something to preserve, it belongs into the table above. */
const absent = ['/network/v2.0/floatingips', '/network/v2.0/security-groups', `/compute/v2.1/servers/_/os-security-groups`]

test('what does not exist yet is named, so that it cannot appear uncompared', async () => {
  for (const path of absent) expect((await anna.call('GET', path.replace('_', server.id))).status, path).toBe(404)
  expect((await get(anna.call, `/compute/v2.1/servers/${server.id}`)).server).not.toHaveProperty('security_groups')
})

test.each(['on', 'off'])('nothing but bytes changes, powered %s afterwards', async (power) => {
  const before = await preserved()
  const listedBefore = (await get(anna.call, '/volume/v3/snapshots')).snapshots.filter(
    ({ name }: { name: string }) => !name.startsWith('_xloud'),
  )
  const answer = await anna.call('POST', `/compute/v2.1/servers/${server.id}/action`, {
    body: { 'xloud-rollback': { snapshot_id: snapshots.A, power_state_after: power } },
  })
  expect(answer).toMatchObject({ status: 200, json: { xloud_rollback: { state: 'completed' } } })
  await serverWhen(anna.call, server.id, power === 'on' ? 'ACTIVE' : 'SHUTOFF')

  // Powered off was asked for; to compare the rest, it is started again.
  if (power === 'off') await anna.call('POST', `/compute/v2.1/servers/${server.id}/action`, { body: { 'os-start': null } })
  await serverWhen(anna.call, server.id, 'ACTIVE')
  expect(await preserved()).toEqual(before)

  const listed = (await get(anna.call, '/volume/v3/snapshots')).snapshots
  const names = listed.map(({ id }: { id: string }) => id)
  for (const { id } of listedBefore) expect(names).toContain(id)
  expect((await get(anna.call, `/image/v2/images/${snapshots.B}`)).status).toBe('active')
})

test('snapshots taken after the target are still usable', async () => {
  const answer = await anna.call('POST', `/compute/v2.1/servers/${server.id}/action`, {
    body: { 'xloud-rollback': { snapshot_id: snapshots.B } },
  })
  expect(answer.json.xloud_rollback.state).toBe('completed')
})
