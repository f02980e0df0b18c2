/** A client that did not hear the answer asks again with the same Idempotency-Key, and hears what it would have heard. */
import { beforeAll, expect, test } from 'vitest'
import { makeFlavor, makeImage, makeServer, serverWhen, until } from '../support/first-server.ts'
import { type Answer, administrator, type Person, person } from '../support/people.ts'
import { type Product, startProduct } from '../support/product.ts'

let product: Product
let anna: Person
let otto: Person
beforeAll(async () => {
  product = await startProduct()
  anna = await person(product, 'anna', 'member', 'blue')
  otto = await person(product, 'otto', 'member', 'red')
  await makeFlavor((await administrator(product)).call)
})

const json = { accept: 'application/json' }
const fresh = () => ({ ...json, 'idempotency-key': `repeats-${crypto.randomUUID()}` })
const remove = (path: string, headers: Readonly<Record<string, string>>, who = anna): Promise<Answer> =>
  who.call('DELETE', path, { headers })
const gone = (path: string) =>
  until(`${path} is gone`, async () => (await anna.call('GET', path, { headers: json })).status === 404)

async function makeVolume(): Promise<string> {
  const { json: made } = await anna.call('POST', '/volume/v3/volumes', { body: { volume: { name: 'v', size: 1 } } })
  const { id } = made.volume
  await until('the volume', async () => (await anna.call('GET', `/volume/v3/volumes/${id}`)).json.volume.status === 'available')
  return id
}

async function makeVolumeSnapshot(): Promise<string> {
  const body = { snapshot: { volume_id: await makeVolume(), name: 's' } }
  const { id } = (await anna.call('POST', '/volume/v3/snapshots', { body })).json.snapshot
  await until(
    'the snapshot',
    async () => (await anna.call('GET', `/volume/v3/snapshots/${id}`)).json.snapshot.status === 'available',
  )
  return id
}

const things: readonly (readonly [string, () => Promise<string>])[] = [
  ['volume', async () => `/volume/v3/volumes/${await makeVolume()}`],
  ['volume snapshot', async () => `/volume/v3/snapshots/${await makeVolumeSnapshot()}`],
  ['image', async () => `/image/v2/images/${await makeImage(anna.call)}`],
  ['server', async () => `/compute/v2.1/servers/${(await makeServer(anna.call, 'vm')).id}`],
  ['volume attachment', attachedVolume],
  ['volume, through the native face', async () => `/v1/volumes/${await makeVolume()}`],
]

async function attachedVolume(): Promise<string> {
  const { id, data } = await makeServer(anna.call, 'with a disk')
  return `/compute/v2.1/servers/${id}/os-volume_attachments/${data}`
}

test.each(things)('deleting again: %s', async (_name, make) => {
  const path = await make()
  const headers = fresh()
  const first = await remove(path, headers)
  expect(first.status).toBeLessThan(300)
  await gone(path)
  const again = await remove(path, headers)
  expect({ status: again.status }).toEqual({ status: first.status })
  expect((await remove(path, fresh())).status).toBe(404)
  expect((await remove(path, json)).status).toBe(404)
  expect((await remove(path, headers, otto)).status).toBe(404)
  const other = await make()
  expect((await remove(other, headers)).status).toBe(409)
  expect((await anna.call('GET', other, { headers: json })).status).toBe(200)
})

test('what never was is not found, whatever the key', async () => {
  for (const path of ['/volume/v3/volumes', '/image/v2/images', '/compute/v2.1/servers'])
    for (const id of ['no-uuid', crypto.randomUUID()])
      expect((await remove(`${path}/${id}`, fresh())).status, `${path}/${id}`).toBe(404)
  expect((await remove(`/compute/v2.1/servers/no-uuid/os-volume_attachments/${crypto.randomUUID()}`, fresh())).status).toBe(404)
})

test('attaching again answers with the same attachment', async () => {
  const { id } = await makeServer(anna.call, 'attached twice')
  await serverWhen(anna.call, id, 'ACTIVE')
  const volumeId = await makeVolume()
  const headers = { ...fresh(), 'openstack-api-version': 'compute 2.89' }
  const attach = (more: object = {}) =>
    anna.call('POST', `/compute/v2.1/servers/${id}/os-volume_attachments`, {
      body: { volumeAttachment: { volumeId, ...more } },
      headers,
    })
  const first = await attach()
  expect(first).toMatchObject({ status: 200, json: { volumeAttachment: { volumeId, device: '/dev/vdc' } } })
  const again = await attach()
  expect({ status: again.status, json: again.json }).toEqual({ status: 200, json: first.json })
  expect((await attach({ delete_on_termination: true })).status).toBe(409)
  const { json: listed } = await anna.call('GET', `/compute/v2.1/servers/${id}/os-volume_attachments/${volumeId}`, { headers })
  expect(listed.volumeAttachment.attachment_id).toBe(first.json.volumeAttachment.attachment_id)
})
