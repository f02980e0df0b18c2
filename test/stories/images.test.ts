/** Images: made, filled, changed, shown to others, deleted; and what is refused on the way. */
import { once } from 'node:events'
import { connect } from 'node:net'
import { beforeAll, expect, test } from 'vitest'
import { makeFlavor, makeImage, makeServer, makeSnapshot, serverWhen, until } from '../support/first-server.ts'
import { administrator, type Call, type Person, person } from '../support/people.ts'
import { type Product, startProduct } from '../support/product.ts'

let product: Product
let admin: Person
let anna: Person
let otto: Person
beforeAll(async () => {
  product = await startProduct({ settings: { maxImageBytes: 100_000 } })
  admin = await administrator(product)
  await makeFlavor(admin.call)
  anna = await person(product, 'anna', 'member', 'blue')
  otto = await person(product, 'otto', 'member', 'red')
})

const patch = (call: Call, id: string, body: unknown) =>
  call('PATCH', `/image/v2/images/${id}`, {
    body: JSON.stringify(body),
    headers: { 'content-type': 'application/openstack-images-v2.1-json-patch', accept: 'application/json' },
  })
const put = (call: Call, id: string, bytes: number) =>
  call('PUT', `/image/v2/images/${id}/file`, {
    body: Buffer.alloc(bytes, 1),
    headers: { 'content-type': 'application/octet-stream', accept: 'application/json' },
  })
const create = (call: Call, body: object) => call('POST', '/image/v2/images', { body, headers: { accept: 'application/json' } })

test('data comes once, is measured, and cannot come again', async () => {
  const made = await create(anna.call, {
    name: 'disk',
    disk_format: 'raw',
    container_format: 'bare',
    kernel_id: 'k',
    tags: ['a'],
  })
  expect(made).toMatchObject({
    status: 201,
    json: { status: 'queued', visibility: 'shared', size: null, kernel_id: 'k', tags: ['a'], os_hidden: false },
  })
  const { id } = made.json
  expect((await anna.call('GET', `/image/v2/images/${id}/file`)).status).toBe(204)
  expect((await put(anna.call, id, 2048)).status).toBe(204)
  const { json } = await anna.call('GET', `/image/v2/images/${id}`)
  expect(json).toMatchObject({
    status: 'active',
    size: 2048,
    os_hash_algo: 'sha512',
    checksum: expect.stringMatching(/^[0-9a-f]{32}$/),
  })
  expect(await put(anna.call, id, 2048)).toMatchObject({ status: 409, json: { code: '409 Conflict' } })
  expect(
    (await anna.call('GET', `/image/v2/images/${id}/file`, { headers: { accept: 'application/json' } })).json.message,
  ).toContain('cannot be downloaded')
})

test('data that is too large or not there leaves the image as it was', async () => {
  const { id } = (await create(anna.call, { name: 'big', disk_format: 'raw', container_format: 'bare' })).json
  expect((await put(anna.call, id, 200_000)).status).toBe(413)
  expect((await anna.call('GET', `/image/v2/images/${id}`)).json.status).toBe('queued')
  expect((await anna.call('PUT', `/image/v2/images/${id}/file`, { body: '{}' })).status).toBe(415)
  expect((await put(anna.call, id, 1024)).status).toBe(204)
  const { id: formless } = (await create(anna.call, { name: 'formless' })).json
  expect((await put(anna.call, formless, 10)).status).toBe(400)
  expect((await put(otto.call, formless, 10)).status).toBe(404)
})

test('an upload that is broken off was a bad request, and can be tried again', async () => {
  const { id } = (await create(anna.call, { name: 'half', disk_format: 'raw', container_format: 'bare' })).json
  const socket = connect(Number(new URL(product.url).port), '127.0.0.1')
  await once(socket, 'connect')
  const head = [
    `PUT /image/v2/images/${id}/file HTTP/1.1`,
    'host: x',
    `x-auth-token: ${anna.token}`,
    'content-type: application/octet-stream',
    'content-length: 50000',
  ]
  socket.write(`${head.join('\r\n')}\r\n\r\n${'x'.repeat(1000)}`)
  await until('the upload', async () => (await anna.call('GET', `/image/v2/images/${id}`)).json.status === 'saving')
  socket.resetAndDestroy()
  const row = await until('its end', async () =>
    product.db
      .selectFrom('audit_log')
      .select('outcome')
      .where('action', '=', 'upload_image')
      .where('target', '=', id)
      .executeTakeFirst(),
  )
  expect(row).toEqual({ outcome: 'malformed' })
  expect((await anna.call('GET', `/image/v2/images/${id}`)).json.status).toBe('queued')
  expect((await put(anna.call, id, 1024)).status).toBe(204)
})

test('a patch changes, adds and removes; what is ours stays', async () => {
  const id = await makeImage(anna.call)
  const changed = await patch(anna.call, id, [
    { op: 'replace', path: '/name', value: 'renamed' },
    { op: 'add', path: '/color', value: 'blue' },
    { op: 'add', path: '/tags', value: ['x', 'y'] },
    { op: 'replace', path: '/min_ram', value: 64 },
  ])
  expect(changed).toMatchObject({ status: 200, json: { name: 'renamed', color: 'blue', tags: ['x', 'y'], min_ram: 64 } })
  expect((await patch(anna.call, id, [{ op: 'remove', path: '/color' }])).json.color).toBeUndefined()
  for (const name of ['status', 'id', 'owner', 'size', 'checksum', 'block_device_mapping'])
    expect((await patch(anna.call, id, [{ op: 'replace', path: `/${name}`, value: 'x' }])).status, name).toBe(403)
  for (const body of [
    {},
    [{ op: 'move', path: '/a', from: '/b' }],
    [{ op: 'add', path: 'a', value: 'b' }],
    [{ op: 'add', path: '/a/b', value: 'c' }],
    [{ op: 'add', path: '/a', value: 5 }],
  ])
    expect((await patch(anna.call, id, body)).status, JSON.stringify(body)).toBe(400)
  expect((await patch(anna.call, id, [{ op: 'replace', path: '/missing', value: 'x' }])).status).toBe(409)
  expect((await patch(anna.call, id, [{ op: 'replace', path: '/disk_format', value: 'qcow2' }])).status).toBe(403)
})

test('a kernel or ramdisk that is not there, is none, or is of another project makes no instance', async () => {
  const part = async (call: Call, format: 'aki' | 'ari') => {
    const { json } = await create(call, { name: format, disk_format: format, container_format: format })
    expect((await put(call, json.id, 512)).status).toBe(204)
    return json.id as string
  }
  const [kernel, ramdisk, theirs] = [await part(anna.call, 'aki'), await part(anna.call, 'ari'), await part(otto.call, 'aki')]
  const boot = async (properties: object) => {
    const imageRef = await makeImage(anna.call, properties)
    return await anna.call('POST', '/compute/v2.1/servers', {
      body: { server: { name: 'direct', flavorRef: 'tiny', imageRef } },
    })
  }
  const bad = [
    [{ kernel_id: theirs }, 'there is no such image'],
    [{ kernel_id: '0b7a1f0e-54f0-4a5f-9e86-0d6b0f4f1a11' }, 'there is no such image'],
    [{ kernel_id: '../layers/x' }, 'that is no id of an image'],
    [{ kernel_id: ramdisk }, 'it is not of format aki'],
    [{ kernel_id: kernel, ramdisk_id: kernel }, 'it is not of format ari'],
  ] as const
  for (const [properties, why] of bad)
    expect(await boot(properties), why).toMatchObject({
      status: 400,
      json: { badRequest: { message: expect.stringContaining(why) } },
    })
  const made = await boot({ kernel_id: kernel, ramdisk_id: ramdisk })
  expect(made.status).toBe(202)
  await serverWhen(anna.call, made.json.server.id, 'ACTIVE')
  expect((await anna.call('DELETE', `/image/v2/images/${kernel}`)).status).toBe(409)
})

test('formats that cannot be imported are refused at once', async () => {
  for (const body of [
    { disk_format: 'vmdk', container_format: 'bare' },
    { disk_format: 'raw', container_format: 'ova' },
    { disk_format: 'aki', container_format: 'bare' },
  ])
    expect((await create(anna.call, { name: 'x', ...body })).status, JSON.stringify(body)).toBe(400)
})

test('others see what is public, and change nothing of it', async () => {
  const id = await makeImage(anna.call)
  expect((await otto.call('GET', `/image/v2/images/${id}`)).status).toBe(404)
  expect((await patch(anna.call, id, [{ op: 'replace', path: '/visibility', value: 'public' }])).status).toBe(403)
  expect((await patch(admin.call, id, [{ op: 'replace', path: '/visibility', value: 'public' }])).status).toBe(200)
  expect((await otto.call('GET', `/image/v2/images/${id}`)).status).toBe(200)
  expect((await patch(otto.call, id, [{ op: 'replace', path: '/name', value: 'mine now' }])).status).toBe(403)
  expect((await otto.call('DELETE', `/image/v2/images/${id}`)).status).toBe(403)
})

test('protected images are not deleted, others are, and then are gone', async () => {
  const id = await makeImage(anna.call, { protected: true })
  expect((await anna.call('DELETE', `/image/v2/images/${id}`)).status).toBe(403)
  await patch(anna.call, id, [{ op: 'replace', path: '/protected', value: false }])
  expect((await anna.call('DELETE', `/image/v2/images/${id}`)).status).toBe(204)
  expect((await anna.call('GET', `/image/v2/images/${id}`)).status).toBe(404)
})

test('lists are filtered, sorted and paged', async () => {
  const eva = await person(product, 'eva', 'member', 'pages')
  for (const name of ['c', 'a', 'b'])
    await create(eva.call, {
      name,
      disk_format: 'raw',
      container_format: 'bare',
      kind: name === 'a' ? 'special' : 'usual',
      tags: [`tag-${name}`],
    })
  const names = async (query: string) =>
    (await eva.call('GET', `/image/v2/images?owner=${eva.project}&${query}`)).json.images.map(
      ({ name }: { name: string }) => name,
    )
  expect(await names('sort=name:asc')).toEqual(['a', 'b', 'c'])
  expect(await names('sort_key=name&sort_dir=desc')).toEqual(['c', 'b', 'a'])
  expect(await names('name=b')).toEqual(['b'])
  expect(await names('name=in:a,c&sort=name:asc')).toEqual(['a', 'c'])
  expect(await names('kind=special')).toEqual(['a'])
  expect(await names('tag=tag-c')).toEqual(['c'])
  expect(await names('status=active')).toEqual([])
  const first = await eva.call('GET', `/image/v2/images?owner=${eva.project}&sort=name:asc&limit=2`)
  expect(first.json.images).toHaveLength(2)
  const second = await eva.call('GET', `/image${first.json.next}`)
  expect(second.json.images).toMatchObject([{ name: 'c' }])
  expect(second.json.next).toBeUndefined()
})

test('an instance snapshot names its volume snapshots as Nova writes them, and goes with them', async () => {
  const { id, data } = await makeServer(anna.call, 'vm')
  const image = await makeSnapshot(anna.call, id, 'A')
  const { json } = await anna.call('GET', `/image/v2/images/${image}`)
  expect(json).toMatchObject({
    size: 0,
    status: 'active',
    disk_format: null,
    container_format: null,
    bdm_v2: 'True',
    root_device_name: '/dev/vda',
    instance_uuid: id,
    visibility: 'private',
  })
  const mapping = JSON.parse(json.block_device_mapping)
  expect(Object.keys(mapping[0]).sort()).toEqual(novaKeys)
  expect(mapping).toMatchObject([
    { boot_index: 0, device_name: '/dev/vda' },
    { boot_index: null, device_name: '/dev/vdb' },
  ])
  const { snapshot } = (await anna.call('GET', `/volume/v3/snapshots/${mapping[1].snapshot_id}`)).json
  expect(snapshot).toMatchObject({ volume_id: data, name: 'snapshot for A', status: 'available' })
  expect((await anna.call('GET', `/image/v2/images/${image}/file`)).status).toBe(204)
  expect((await anna.call('DELETE', `/image/v2/images/${image}`)).status).toBe(204)
  expect((await anna.call('GET', `/volume/v3/snapshots/${mapping[1].snapshot_id}`)).status).toBe(404)
})

const novaKeys = [
  ...['boot_index', 'delete_on_termination', 'destination_type', 'device_name', 'device_type', 'disk_bus', 'encrypted'],
  ...['encryption_format', 'encryption_options', 'encryption_secret_uuid', 'guest_format', 'image_id', 'no_device'],
  ...['snapshot_id', 'source_type', 'tag', 'volume_id', 'volume_size', 'volume_type'],
]
