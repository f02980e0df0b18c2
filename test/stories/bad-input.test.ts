/**
 * Whatever a client sends, it is told no with a 4xx in the words of the service that it talks to; nothing is written, and nothing
 * of how the server is made gets out.
 */
import { randomUUID } from 'node:crypto'
import { sql } from 'kysely'
import { beforeAll, describe, expect, test } from 'vitest'
import { makeFlavor, makeImage, serverWhen } from '../support/first-server.ts'
import { type Answer, administrator, type Call, callWith, type Person, person } from '../support/people.ts'
import { type Product, startProduct } from '../support/product.ts'
import { allRoutes, filled, type Route } from '../support/routes.ts'

let product: Product
let anna: Person
let otto: Person
beforeAll(async () => {
  product = await startProduct()
  anna = await person(product, 'anna', 'member', 'blue')
  otto = await person(product, 'otto', 'member', 'red')
})

const routes = allRoutes()
const guarded = routes.filter(({ open }) => !open)
const withBody = guarded.filter(({ method }) => method === 'POST' || method === 'PUT' || method === 'PATCH')
const json = (route: Route) => ({
  'content-type':
    route.method === 'PATCH' && route.face === '/image' ? 'application/openstack-images-v2.1-json-patch' : 'application/json',
})

/** Microversions at which every route exists. */
const newest = { 'openstack-api-version': 'compute 2.87, volume 3.70', accept: 'application/json' }

async function rowCounts(): Promise<Readonly<Record<string, number>>> {
  const { rows } = await sql<{
    name: string
  }>`select tablename as name from pg_tables where schemaname = 'public' and tablename <> 'audit_log' order by 1`.execute(
    product.db,
  )
  const counts = await Promise.all(
    rows.map(async ({ name }) => {
      const { rows: counted } = await sql<{ n: number }>`select count(*) as n from ${sql.table(name)}`.execute(product.db)
      return [name, counted[0]?.n ?? 0] as const
    }),
  )
  return Object.fromEntries(counts)
}

const envelopes: Readonly<Record<string, (answer: Answer) => unknown>> = {
  '/identity': ({ json, status }) =>
    expect(json.error).toMatchObject({ code: status, message: expect.any(String), title: expect.any(String) }),
  '/compute': ({ json, status }) => expect(Object.values(json)).toMatchObject([{ code: status, message: expect.any(String) }]),
  '/volume': ({ json, status }) => expect(Object.values(json)).toMatchObject([{ code: status, message: expect.any(String) }]),
  '/image': ({ json, status }) =>
    expect(json).toMatchObject({ code: expect.stringContaining(String(status)), message: expect.any(String) }),
  '/network': ({ json }) =>
    expect(json.NeutronError).toMatchObject({ type: expect.any(String), message: expect.any(String), detail: '' }),
  '/v1': ({ json }) => expect(json.error ?? json).toMatchObject({ code: expect.any(String), message: expect.any(String) }),
}

/** No in the face's own words, and nothing about files, stacks or SQL. */
function expectRefusal(route: Route, answer: Answer, statuses?: readonly number[]): void {
  const what = `${route.method} ${route.url} → ${answer.status} ${answer.text.slice(0, 300)}`
  if (statuses) expect(statuses, what).toContain(answer.status)
  expect(answer.status, what).toBeGreaterThanOrEqual(400)
  expect(answer.status, what).toBeLessThan(500)
  expect(answer.headers['x-openstack-request-id'], what).toMatch(/^req-/)
  expectNothingLeaks(answer, what)
  if (answer.status === 401) expect(answer.json.error ?? answer.json, what).toMatchObject({ message: expect.any(String) })
  else envelopes[route.face]?.(answer)
}

function expectNothingLeaks(answer: Answer, what: string): void {
  expect(answer.text, what).not.toMatch(
    /\.ts\b|node_modules|\bat \w+ \(|\/tmp\/|select |insert |duplicate key|ZodError|postgres/i,
  )
}

describe('without a good token nothing is answered', () => {
  test('none, one made up, one too long', async () => {
    const before = await rowCounts()
    for (const token of [null, 'made-up', 'x'.repeat(5000)])
      for (const route of guarded) {
        const answer = await callWith(product, token)(route.method, filled(route, randomUUID()), { headers: newest })
        expectRefusal(route, answer, [401])
      }
    expect(await rowCounts()).toEqual(before)
  })
})

const bodies: readonly (readonly [string, string])[] = [
  ['half of an object', '{"server": {'],
  ['not JSON at all', 'hello'],
  ['a list', '[]'],
  ['text', '"text"'],
  ['a number', '5'],
  ['an unknown field', '{"nonsense": 1}'],
  ['a prototype', '{"__proto__": {"admin": true}}'],
  ['a NUL character', '{"a": "\\u0000"}'],
  ['half of a surrogate pair', '{"a": "\\ud800"}'],
  ['deep nesting', `${'['.repeat(20_000)}${']'.repeat(20_000)}`],
]

describe.each(bodies)('a body that is %s', (_name, body) => {
  test('is refused everywhere', async () => {
    const before = await rowCounts()
    for (const route of withBody) {
      const answer = await anna.call(route.method, filled(route, randomUUID()), {
        body,
        headers: { ...newest, ...json(route) },
      })
      expectRefusal(route, answer)
    }
    expect(await rowCounts()).toEqual(before)
  })
})

test('fields of every wrong type are refused', async () => {
  const before = await rowCounts()
  const keys = [
    'server',
    'volume',
    'snapshot',
    'backup',
    'restore',
    'flavor',
    'keypair',
    'image',
    'user',
    'project',
    'metadata',
    'meta',
    'tags',
    'extra_specs',
  ]
  const more = [
    'volumeAttachment',
    'createImage',
    'reboot',
    'revert',
    'os-extend',
    'os-reset_status',
    'xloud-rollback',
    'xloud-rollback-dry-run',
    'os-stop',
  ]
  for (const key of [...keys, ...more])
    for (const value of [5, 'text', [[]], { nonsense: {} }])
      for (const route of withBody.filter(
        ({ url }) => /action|s$|metadata/.test(url) && !(url === '/image/v2/images' && value === 'text'),
      )) {
        const answer = await anna.call(route.method, filled(route, randomUUID()), {
          body: { [key]: value },
          headers: { ...newest, ...json(route) },
        })
        expectRefusal(route, answer)
      }
  expect(await rowCounts()).toEqual(before)
})

test('a body that is too large, of an unknown type, or not there', async () => {
  const before = await rowCounts()
  const large = `{"a": "${'x'.repeat(2 * 1024 * 1024)}"}`
  for (const route of withBody) {
    const path = filled(route, randomUUID())
    if (!/\/file$/.test(path))
      expectRefusal(
        route,
        await anna.call(route.method, path, { body: large, headers: { ...newest, ...json(route) } }),
        [400, 413],
      )
    expectRefusal(
      route,
      await anna.call(route.method, path, { body: '<a/>', headers: { ...newest, 'content-type': 'application/xml' } }),
      [415],
    )
    expectRefusal(route, await anna.call(route.method, path, { headers: newest }))
  }
  expect(await rowCounts()).toEqual(before)
})

const ids = [
  'not-an-id',
  '../../../etc/passwd',
  "1'; drop table volumes; --",
  'ÿ€𝄞',
  'x'.repeat(250),
  '0',
  ' ',
  '%25',
  '<script>',
]

test('ids that are none are not found, whatever they look like', async () => {
  const before = await rowCounts()
  for (const id of ids)
    for (const route of guarded.filter(({ url, method }) => url.includes(':') && method !== 'PUT')) {
      const answer = await anna.call(route.method, filled(route, id), { headers: newest })
      // Lists that belong to an id, and things that are named freely, may be empty or absent; never an error of ours.
      if (answer.status >= 400) expectRefusal(route, answer)
      else expect(answer.status).toBeLessThan(300)
      expectNothingLeaks(answer, route.url)
    }
  expect(await rowCounts()).toEqual(before)
})

test('query strings that make no sense are refused or passed over, never an error of ours', async () => {
  const values = ['-1', '%27', '99999999999999999999', '(((', '%00']
  const names = ['limit', 'marker', 'sort_key', 'sort', 'name', 'changes-since', 'all_tenants', 'metadata', 'after', 'size_min']
  for (const route of guarded.filter(({ method, url }) => method === 'GET' && !url.includes(':') && !url.includes('events')))
    for (const name of names)
      for (const value of values) {
        const answer = await anna.call('GET', `${route.url}?${name}=${value}`, { headers: newest })
        expect(answer.status, `${route.url}?${name}=${value} ${answer.text.slice(0, 200)}`).toBeLessThan(500)
        if (answer.status >= 400) expectRefusal(route, answer)
      }
})

test('a wrong method is 405, with those that are right', async () => {
  for (const route of guarded.filter(({ url }) => !url.includes('*'))) {
    const answer = await anna.call('OPTIONS', filled(route, randomUUID()), { headers: newest })
    expect(answer.status, route.url).toBe(405)
    expect(answer.headers['allow'], route.url).toContain(route.method)
  }
})

test('a path that is nowhere is 404 in the words of its service', async () => {
  for (const face of Object.keys(envelopes)) {
    const answer = await anna.call('GET', `${face}/no/such/path`, { headers: newest })
    expectRefusal({ face, method: 'GET', url: face, open: false }, answer, [404])
  }
  const malformed = await anna.call('GET', '/compute/v2.1/servers/%zz')
  expect(malformed.status).toBe(400)
  expect(malformed.json.badRequest).toMatchObject({ code: 400 })
})

test('microversions that are malformed are 400, those not spoken 406', async () => {
  const ask = (value: string) =>
    anna.call('GET', '/compute/v2.1/servers', { headers: { 'openstack-api-version': `compute ${value}` } })
  for (const value of ['2', 'x', '2.', '02.1', '2.01', '-2.1', '2.1 3']) expect((await ask(value)).status, value).toBe(400)
  for (const value of ['2.0', '2.96', '3.1', '1.1', '2.999']) {
    const answer = await ask(value)
    expect(answer).toMatchObject({
      status: 406,
      json: {
        computeFault: {
          code: 406,
          message: expect.stringContaining(`Version ${value} is not supported by the API. Minimum is 2.1 and maximum is 2.95.`),
        },
      },
    })
  }
  expect((await ask('latest')).headers).toMatchObject({
    'openstack-api-version': 'compute 2.95',
    'x-openstack-nova-api-version': '2.95',
    vary: 'OpenStack-API-Version, X-OpenStack-Nova-API-Version',
  })
})

describe('sizes and names', () => {
  const make = (call: Call) => ({
    volume: (volume: object) => call('POST', '/volume/v3/volumes', { body: { volume } }),
    server: (server: object) => call('POST', '/compute/v2.1/servers', { body: { server } }),
    snapshot: (snapshot: object) => call('POST', '/volume/v3/snapshots', { body: { snapshot } }),
    image: (image: object) => call('POST', '/image/v2/images', { body: image, headers: { accept: 'application/json' } }),
  })

  test('sizes of 0, -1, 2^63, fractions and words are refused', async () => {
    const before = await rowCounts()
    for (const size of [0, -1, 2 ** 63, 1.5, '1.5', 'ten', '9223372036854775808', true, {}, [1], 65_537])
      expect((await make(anna.call).volume({ name: 'v', size })).status, String(size)).toBe(400)
    expect((await make(anna.call).volume({ name: 'v' })).status).toBe(400)
    for (const min_disk of [-1, 2 ** 31, 1.5, 'x'])
      expect((await make(anna.call).image({ name: 'i', min_disk })).status, String(min_disk)).toBe(400)
    expect(await rowCounts()).toEqual(before)
  })

  test('addresses that no guest can have, and flavors smaller than what an image asks for', async () => {
    const admin = await administrator(product)
    await makeFlavor(admin.call)
    const image = await makeImage(anna.call, { min_ram: 65 })
    const fits = await makeImage(anna.call, { min_ram: 64 })
    const [network] = (await anna.call('GET', '/network/v2.0/networks')).json.networks
    const subnet = (await anna.call('GET', `/network/v2.0/subnets/${network.subnets[0]}`)).json.subnet
    const [base] = subnet.cidr.split('.0/')
    const before = await rowCounts()
    const small = await make(anna.call).server({ name: 's', flavorRef: 'tiny', imageRef: image })
    expect(small).toMatchObject({
      status: 400,
      json: { badRequest: { message: expect.stringContaining("Flavor's memory is too small for requested image") } },
    })
    for (const ip of ['1.2.3.4', `${base}.0`, subnet.gateway_ip, '10.20.255.255', 'fe80::1', '0.0.0.0', '999.1.1.1', 'x']) {
      const networks = [{ uuid: network.id, fixed_ip: ip }]
      expect((await make(anna.call).server({ name: 's', flavorRef: 'tiny', imageRef: fits, networks })).status, ip).toBe(400)
    }
    expect(await rowCounts()).toEqual(before)
    const networks = [{ uuid: network.id, fixed_ip: `${base}.77` }]
    const made = await make(anna.call).server({ name: 's', flavorRef: 'tiny', imageRef: fits, networks })
    expect(made.status).toBe(202)
    await serverWhen(anna.call, made.json.server.id, 'ACTIVE')
    const again = await make(anna.call).server({ name: 's', flavorRef: 'tiny', imageRef: fits, networks })
    expect(again.status).toBe(409)
  })

  test('names with control characters, too long or of blanks are refused; markup is text', async () => {
    const before = await rowCounts()
    for (const name of ['a\u0007b', 'a\nb', 'a\u001b[31mb', 'x'.repeat(256), 'a\u2028b']) {
      expect((await make(anna.call).volume({ name, size: 1 })).status, JSON.stringify(name)).toBe(400)
      expect((await make(anna.call).image({ name })).status, JSON.stringify(name)).toBe(400)
      expect(
        (await make(anna.call).server({ name, flavorRef: '1', imageRef: randomUUID() })).status,
        JSON.stringify(name),
      ).toBe(400)
    }
    for (const name of ['', '   '])
      expect((await make(anna.call).server({ name, flavorRef: '1', imageRef: randomUUID() })).status).toBe(400)
    expect(await rowCounts()).toEqual(before)
    const markup = '<script>alert(1)</script>'
    const made = await make(anna.call).volume({ name: markup, size: 1 })
    expect(made).toMatchObject({ status: 202, json: { volume: { name: markup } } })
    expect(made.headers['content-type']).toContain('application/json')
    const page = await anna.call('GET', `/image/v2/images/${encodeURIComponent('<b>x</b>')}`)
    expect(page.status).toBe(404)
    expect(page.text).not.toContain('<b>x</b>')
  })

  test('what belongs to another project is not there, not even for saying no to', async () => {
    const mine = (await make(anna.call).volume({ name: 'mine', size: 1 })).json.volume.id
    const path = `/volume/v3/volumes/${mine}`
    expect((await anna.call('GET', path)).status).toBe(200)
    const before = await rowCounts()
    const attempts: [string, string, unknown?][] = [
      ['GET', path],
      ['PUT', path, { volume: { name: 'stolen' } }],
      ['DELETE', path],
      ['POST', `${path}/action`, { 'os-extend': { new_size: 2 } }],
      ['POST', `${path}/metadata`, { metadata: { a: 'b' } }],
      ['POST', '/volume/v3/snapshots', { snapshot: { volume_id: mine, name: 's', force: true } }],
    ]
    for (const [method, url, body] of attempts) {
      const answer = await otto.call(method, url, body === undefined ? {} : { body })
      expect(answer, `${method} ${url}`).toMatchObject({
        status: 404,
        json: { itemNotFound: { message: `Volume ${mine} could not be found.` } },
      })
    }
    expect((await otto.call('GET', '/volume/v3/volumes?all_tenants=1')).json.volumes).toEqual([])
    expect((await otto.call('GET', `/volume/v3/${anna.project}/volumes`)).status).toBe(400)
    expect((await otto.call('GET', '/compute/v2.1/servers?all_tenants=1')).status).toBe(403)
    expect(await rowCounts()).toEqual(before)
  })

  test('a private flavor is for administrators, by name or id', async () => {
    const admin = await administrator(product)
    const flavor = { id: 'secret', name: 'secret', ram: 64, vcpus: 1, disk: 1, 'os-flavor-access:is_public': false }
    expect((await admin.call('POST', '/compute/v2.1/flavors', { body: { flavor } })).status).toBe(200)
    const access = await admin.call('GET', '/compute/v2.1/flavors/secret/os-flavor-access')
    expect(access).toMatchObject({ status: 200, json: { flavor_access: [] } })
    expect((await anna.call('GET', '/compute/v2.1/flavors/secret/os-flavor-access')).status).toBe(403)
    expect((await anna.call('GET', '/compute/v2.1/flavors/secret')).status).toBe(404)
    const imageRef = await makeImage(anna.call)
    const before = await rowCounts()
    const refused = await make(anna.call).server({ name: 's', flavorRef: 'secret', imageRef })
    expect(refused).toMatchObject({ status: 400, json: { badRequest: { message: 'Flavor secret could not be found.' } } })
    expect(await rowCounts()).toEqual(before)
  })

  test('a reader changes nothing', async () => {
    const rita = await person(product, 'rita', 'reader', 'blue')
    const mine = (await make(anna.call).volume({ name: 'read me', size: 1 })).json.volume.id
    expect((await rita.call('GET', `/volume/v3/volumes/${mine}`)).status).toBe(200)
    const before = await rowCounts()
    expect(await make(rita.call).volume({ name: 'v', size: 1 })).toMatchObject({
      status: 403,
      json: { forbidden: { message: "Policy doesn't allow volume:create to be performed." } },
    })
    expect((await make(rita.call).image({ name: 'i' })).status).toBe(403)
    expect((await make(rita.call).server({ name: 's', flavorRef: '1', imageRef: randomUUID() })).status).toBe(403)
    expect((await rita.call('DELETE', `/volume/v3/volumes/${mine}`)).status).toBe(403)
    expect((await make(rita.call).snapshot({ volume_id: mine, name: 's' })).status).toBe(403)
    expect(
      (await anna.call('POST', '/compute/v2.1/flavors', { body: { flavor: { name: 'f', ram: 1, vcpus: 1, disk: 1 } } })).status,
    ).toBe(403)
    expect(await rowCounts()).toEqual(before)
  })
})

test('none of this was an error of ours', () => {
  expect(product.logged.filter((line) => line.includes('"level":50'))).toEqual([])
})
