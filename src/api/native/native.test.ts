import { beforeAll, describe, expect, test } from 'vitest'
import { createClient } from '../../../contract/client.ts'
import type { Endpoint } from '../../../contract/endpoint.ts'
import { errorBody } from '../../../contract/errors.ts'
import { endpoints } from '../../../contract/index.ts'
import type { TreeNode } from '../../../contract/snapshots.ts'
import { availableBackup } from '../../../test/support/backup-rows.ts'
import { type NativeServer, nativeServer, type TestUser } from '../../../test/support/native-server.ts'
import type { InstanceId } from '../../domain/ids.ts'

let server: NativeServer
let alice: TestUser
let bob: TestUser
let reader: TestUser
let admin: TestUser
let web: InstanceId

beforeAll(async () => {
  server = await nativeServer()
  alice = await server.user('alice', 'blue', 'member')
  bob = await server.user('bob', 'red', 'member')
  reader = await server.user('ruth', 'blue', 'reader')
  admin = await server.user('root', 'admins', 'admin')
  web = await server.instance(alice, 'web')
})

const clientOf = ({ token }: TestUser) => createClient({ url: server.url, token: async () => token, patienceMs: 0 })

async function send(user: TestUser | null, method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
  const token = user ? { 'x-auth-token': user.token } : {}
  const content = body === undefined ? {} : { 'content-type': 'application/json' }
  const response = await fetch(`${server.url}${path}`, {
    method,
    headers: { ...token, ...content, ...headers },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  })
  const text = await response.text()
  return { status: response.status, headers: response.headers, body: text === '' ? null : (JSON.parse(text) as unknown) }
}

async function take(instance: InstanceId, name: string, disks?: string[]) {
  const body = { name, ...(disks ? { disks } : {}) }
  const { operation, snapshot } = await clientOf(alice).call(endpoints.takeInstanceSnapshot, { params: { instance }, body })
  await server.done({ operation: operation.id })
  return snapshot
}

const operationOf = endpoints.rollBackInstance.answer

const shape = (nodes: readonly TreeNode[]) =>
  nodes.map(({ kind, name, parent, here }) => [kind === 'safety' ? kind : name, parent, here])

describe('the main job', () => {
  test('snapshots, a rollback, a rollback of one disk and its undo make a tree with branches', async () => {
    const client = clientOf(alice)
    const params = { instance: await server.instance(alice, 'story') }
    const showTree = () => client.call(endpoints.showSnapshotTree, { params })
    const a = await take(params.instance, 'A')
    const b = await take(params.instance, 'B')

    const first = await client.call(endpoints.rollBackInstance, { params, body: { to: { instance_snapshot: a } } })
    await server.done({ operation: first.operation.id })
    const back = await showTree()
    expect(shape(back.nodes)).toEqual([
      ['A', null, ['vda', 'vdb']],
      ['B', a, []],
      ['safety', b, []],
    ])
    expect(back.mixed).toBe(false)

    const body = { to: { instance_snapshot: b }, disks: ['vdb'] }
    const second = await client.call(endpoints.rollBackInstance, { params, body })
    await server.done({ operation: second.operation.id })
    const apart = await showTree()
    expect(apart.here.map(({ device, node }) => [device, node])).toEqual([
      ['vda', a],
      ['vdb', b],
    ])
    expect(apart.mixed).toBe(true)

    const undone = await client.call(endpoints.undoOperation, { params: { operation: second.operation.id }, body: {} })
    await server.done({ operation: undone.operation.id })
    const again = await showTree()
    const safetyOfSecond = second.operation.id
    expect(again.here.map(({ device, node }) => [device, node])).toEqual([
      ['vda', a],
      ['vdb', safetyOfSecond],
    ])
    expect(again.nodes.find(({ key }) => key === safetyOfSecond)).toMatchObject({ kind: 'safety', parent: a })
  })

  test('what a node says in `to` is a rollback target, whatever its kind', async () => {
    const client = clientOf(alice)
    const instance = await server.instance(alice, 'targets')
    await take(instance, 'A')
    const { disks } = await client.call(endpoints.showInstance, { params: { instance } })
    const volume = disks[1]!.volume
    const taken = await client.call(endpoints.takeVolumeSnapshot, { body: { volume, name: 'V' } })
    await server.done({ operation: taken.operation.id })
    const started = await client.call(endpoints.rollBackInstance, {
      params: { instance },
      body: { to: { snapshots: [taken.snapshot] } },
    })
    await server.done({ operation: started.operation.id })
    const { nodes } = await client.call(endpoints.showSnapshotTree, { params: { instance } })
    expect(nodes.map(({ kind }) => kind)).toEqual(['instance', 'volume', 'safety'])
    for (const { to } of nodes) {
      const preflight = await client.call(endpoints.preflightInstance, { params: { instance }, body: { to } })
      expect(preflight).toMatchObject({ can_rollback: true, errors: [] })
      const alone = await client.call(endpoints.preflightSnapshot, { body: { to } })
      expect(alone).toEqual(preflight)
    }
  })

  test('`Prefer: wait` answers when it has ended, and a deleted snapshot leaves the others where they hang', async () => {
    const instance = await server.instance(alice, 'waiting')
    const names = ['A', 'B', 'C']
    const keys: string[] = []
    for (const name of names) keys.push(await take(instance, name))
    const path = `/v1/instance-snapshots/${keys[1]}`
    const { status, headers, body } = await send(alice, 'DELETE', path, undefined, { prefer: 'wait=20' })
    expect(status).toBe(200)
    expect(headers.get('preference-applied')).toBe('wait=20')
    expect(body).toMatchObject({ operation: { kind: 'delete-image', state: 'done' } })
    const { nodes } = await clientOf(alice).call(endpoints.showSnapshotTree, { params: { instance } })
    expect(nodes.map(({ key, parent }) => [key, parent])).toEqual([
      [keys[0], null],
      [keys[2], keys[0]],
    ])
  })

  test('one key is one operation, and a key for something else is refused', async () => {
    const instance = await server.instance(alice, 'idempotent')
    const snapshot = await take(instance, 'A')
    const path = `/v1/instances/${instance}/rollbacks`
    const key = { 'idempotency-key': 'k1' }
    const body = { to: { instance_snapshot: snapshot } }
    const first = await send(alice, 'POST', path, body, key)
    expect(first.status).toBe(202)
    const { operation } = operationOf.parse(first.body)
    expect(first.headers.get('location')).toBe(`/v1/operations/${operation.id}`)
    const second = await send(alice, 'POST', path, body, key)
    expect(second.body).toMatchObject({ operation: { id: operation.id } })
    expect(second.headers.get('idempotent-replay')).toBe('true')
    const other = await send(alice, 'POST', path, { ...body, skip_safety_snapshot: true }, key)
    expect(other.body).toMatchObject({ error: { code: 'idempotencyMismatch' } })
    await server.operations.ended(operation.id)
  })

  test('a request that starts several operations starts all of them under its one key, and the key is good for nothing else', async () => {
    const client = clientOf(alice)
    const instance = await server.instance(alice, 'cleaned')
    const to = { instance_snapshot: await take(instance, 'A') }
    const { operation } = await client.call(endpoints.rollBackInstance, { params: { instance }, body: { to } })
    await server.done({ operation: operation.id })
    const query = { operation: operation.id, kind: 'safety' } as const
    expect((await client.call(endpoints.listVolumeSnapshots, { query })).items).toHaveLength(2)

    const key = { 'idempotency-key': 'clean' }
    const cleanUp = await send(admin, 'POST', '/v1/safety-snapshots/clean-ups', { older_than_seconds: 0 }, key)
    const { operations } = endpoints.cleanUpSafetySnapshots.answer.parse(cleanUp.body)
    expect(new Set(operations).size).toBe(operations.length)
    for (const id of operations) await server.done({ operation: id })
    expect((await client.call(endpoints.listVolumeSnapshots, { query })).items).toEqual([])

    const [a, b] = [await take(instance, 'B'), await take(instance, 'C')]
    const once = { 'idempotency-key': 'once' }
    expect((await send(alice, 'DELETE', `/v1/instance-snapshots/${a}`, undefined, once)).status).toBe(202)
    expect((await send(alice, 'DELETE', `/v1/instance-snapshots/${b}`, undefined, once)).body).toMatchObject({
      error: { code: 'idempotencyMismatch' },
    })
  })

  test('a rollback that cannot be is refused with every reason, and what is not a rollback cannot be undone', async () => {
    const client = clientOf(alice)
    const instance = await server.instance(alice, 'refusing')
    const snapshot = await take(instance, 'A', ['vda'])
    const body = { to: { instance_snapshot: snapshot }, disks: ['vdb'] }
    const refused = await send(alice, 'POST', `/v1/instances/${instance}/rollbacks`, body)
    expect(refused.status).toBe(409)
    const { error } = errorBody.parse(refused.body)
    expect(error.code).toBe('preflightFailed')
    expect(error.facts?.['errors']).toHaveLength(1)
    expect(error.request_id).toMatch(/^req-/)
    const { items } = await client.call(endpoints.listOperations, { query: { instance, kind: 'take-points' } })
    expect(items).toHaveLength(1)
    const undo = await send(alice, 'POST', `/v1/operations/${items[0]?.id}/undo`, {})
    expect(undo.status).toBe(409)
    expect(undo.body).toMatchObject({ error: { code: 'nothingToUndo' } })
  })
})

/** Every endpoint with ids of alice's things in its path. */
async function everyCall() {
  const client = clientOf(alice)
  const { disks } = await client.call(endpoints.showInstance, { params: { instance: web } })
  const volume = disks[0]!.volume
  const image = await take(web, 'isolated')
  const { items: snapshots } = await client.call(endpoints.listVolumeSnapshots, { query: { volume, limit: 1 } })
  const { items: operations } = await client.call(endpoints.listOperations, { query: { instance: web, limit: 1 } })
  const snapshot = snapshots[0]!.id
  const to = { instance_snapshot: image }
  const { backup, vault } = await availableBackup(server.db, alice, volume)
  const bodies: Record<string, unknown> = {
    takeInstanceSnapshot: { name: 'x' },
    rollBackInstance: { to },
    preflightInstance: { to },
    preflightSnapshot: { to },
    createVolume: { name: 'x', source: { snapshot } },
    restoreVolume: { snapshot, confirm: 'x' },
    changeVolume: { plan: null },
    createPlan: { name: 'x' },
    changePlan: { max_snapshots: 1 },
    takeVolumeSnapshot: { volume, name: 'x' },
    cleanUpSafetySnapshots: { older_than_seconds: 1_000_000 },
    createBackup: { volume },
    createVault: { name: 'x', directory: '/srv/x' },
    addVault: { name: 'x', directory: '/srv/x', recovery_key: 'x' },
    createHostGroup: { name: 'x' },
    changeHost: { group: null },
  }
  return Object.values<Endpoint>(endpoints).map((endpoint) => ({
    endpoint,
    path: endpoint.path
      .replace('{instance}', web)
      .replace('{volume}', volume)
      .replace('{operation}', operations[0]!.id)
      .replace(/\{(plan|group|host)\}/, crypto.randomUUID())
      .replace('{backup}', backup)
      .replace('{vault}', vault)
      .concat(['deleteVolumeSnapshot', 'deleteBackup'].includes(endpoint.id) ? '?confirm=x' : '')
      .replace('{snapshot}', endpoint.path.includes('instance-snapshots') ? image : snapshot),
    body: ['POST', 'PATCH'].includes(endpoint.method) ? (bodies[endpoint.id] ?? {}) : undefined,
  }))
}

describe('who may', () => {
  test('without a token nothing but the OpenAPI page is answered', async () => {
    for (const { endpoint, path, body } of await everyCall()) {
      const answer = await send(null, endpoint.method, path, body)
      expect([endpoint.id, answer.status]).toEqual([endpoint.id, 401])
    }
    expect((await send(null, 'GET', '/v1/openapi.json')).body).toMatchObject({ openapi: '3.1.0' })
  })

  test("another project's things are not there, in no endpoint and no list", async () => {
    for (const { endpoint, path, body } of await everyCall()) {
      if (endpoint.who === 'admin' || endpoint.id === 'watchOperations') continue
      const answer = await send(bob, endpoint.method, path, body)
      if (endpoint.path.includes('{') || ['createVolume', 'takeVolumeSnapshot', 'createBackup'].includes(endpoint.id)) {
        expect([endpoint.id, answer.status]).toEqual([endpoint.id, 404])
        expect(errorBody.parse(answer.body).error.code).toBe('notFound')
      } else if (endpoint.id === 'preflightSnapshot') {
        expect(answer.body).toMatchObject({
          can_rollback: false,
          instance: null,
          volumes: [],
          errors: [{ code: 'snapshotUnusable' }],
        })
      } else {
        expect([endpoint.id, answer.body]).toEqual([endpoint.id, { items: [], next: null }])
      }
    }
  })

  test('a reader reads and changes nothing; what is for administrators is for them only', async () => {
    const before = await server.db.selectFrom('operations').select('id').execute()
    for (const { endpoint, path, body } of await everyCall()) {
      if (endpoint.gives === 'events') continue
      const status = (await send(reader, endpoint.method, path, body)).status
      const changes =
        endpoint.gives === 'operation' || ['cancelOperation', 'changeBackup', 'backUpInstance'].includes(endpoint.id)
      const expected = changes || endpoint.who === 'admin' ? 403 : 200
      expect([endpoint.id, status]).toEqual([endpoint.id, expected])
      if (endpoint.who === 'admin') expect((await send(alice, endpoint.method, path, body)).status).toBe(403)
    }
    for (const list of ['instances', 'volumes', 'volume-snapshots', 'backups', 'operations', 'events'])
      expect((await send(alice, 'GET', `/v1/${list}?all_projects=true`)).status).toBe(403)
    const after = await server.db.selectFrom('operations').select('id').execute()
    expect(after.length - before.length).toBe(1)
  })

  test('an administrator sees all projects, pools, hosts and the audit log', async () => {
    const client = clientOf(admin)
    const { items } = await client.call(endpoints.listInstances, { query: { all_projects: 'true', name: 'web' } })
    expect(items.map(({ id }) => id)).toEqual([web])
    expect((await client.call(endpoints.listInstances, {})).items).toEqual([])
    const { items: pools } = await client.call(endpoints.listPools, {})
    expect(pools).toMatchObject([{ name: 'memory', hosts: ['memory'], volumes: expect.any(Number) }])
    const { items: hosts } = await client.call(endpoints.listHosts, {})
    expect(hosts).toMatchObject([{ name: 'memory', accelerator: 'tcg', instances: expect.any(Number) }])
    const path = `/v1/instances/${web}/snapshots`
    const began = await send(alice, 'POST', path, { name: 'audited' })
    const refused = await send(reader, 'POST', path, { name: 'audited' })
    const entryOf = async ({ headers }: typeof began) => {
      const request_id = headers.get('x-openstack-request-id') ?? ''
      return (await client.call(endpoints.listAudit, { query: { request_id } })).items
    }
    const { operation } = endpoints.takeInstanceSnapshot.answer.parse(began.body)
    const action = 'native:takeInstanceSnapshot'
    expect(await entryOf(began)).toMatchObject([{ action, target: web, outcome: 'accepted', operation: operation.id }])
    expect(await entryOf(refused)).toMatchObject([{ action, user: reader.caller.user, outcome: 'forbidden', operation: null }])
    await server.done({ operation: operation.id })
    const ended = await send(
      admin,
      'POST',
      `/v1/operations/${(await client.call(endpoints.listOperations, { query: { all_projects: 'true', limit: 1 } })).items[0]?.id}/force-end`,
      {},
    )
    expect(ended.body).toMatchObject({ error: { code: 'operationNotStuck' } })
  })
})

test('lists come in pages that neither repeat nor leave out', async () => {
  const client = clientOf(alice)
  const whole = await client.call(endpoints.listOperations, { query: { limit: 1000 } })
  const seen: string[] = []
  for (let after: string | null | undefined; after !== null; ) {
    const page = await client.call(endpoints.listOperations, { query: { limit: 2, ...(after ? { after } : {}) } })
    seen.push(...page.items.map(({ id }) => id))
    after = page.next
  }
  expect(seen).toEqual(whole.items.map(({ id }) => id))
  expect(seen.length).toBeGreaterThan(4)
})

test('bad input is a 400 in words, and nothing is written', async () => {
  const count = async () => (await server.db.selectFrom('operations').select('id').execute()).length
  const before = await count()
  const rollbacks = `/v1/instances/${web}/rollbacks`
  const to = { instance_snapshot: web }
  const bad: [string, string, unknown, Record<string, string>?][] = [
    ['POST', rollbacks, '{"to":'],
    ['POST', rollbacks, undefined],
    ['POST', rollbacks, []],
    ['POST', rollbacks, { to: 'A' }],
    ['POST', rollbacks, { to, surprise: 1 }],
    ['POST', rollbacks, { to: { ...to, snapshots: [] } }],
    ['POST', rollbacks, { to, skip_safety_snapshot: 'yes' }],
    ['POST', rollbacks, { to, stop_seconds: -1 }],
    ['POST', rollbacks, { to, disks: [] }],
    ['POST', rollbacks, { to }, { 'idempotency-key': 'x'.repeat(300) }],
    ['POST', rollbacks, { to }, { prefer: 'wait=0' }],
    ['POST', `/v1/instances/${web}/snapshots`, { name: 'a\u0007b' }],
    ['POST', `/v1/instances/${web}/snapshots`, { name: '<script>' }],
    ['POST', '/v1/volumes', { name: 'v', source: { size_bytes: 0 } }],
    ['POST', '/v1/volumes', { name: 'v', source: { size_bytes: -1 } }],
    ['POST', '/v1/volumes', '{"name":"v","source":{"size_bytes":9223372036854775808}}'],
    ['GET', '/v1/instances/not-an-id', undefined],
    ['GET', '/v1/instances?limit=0', undefined],
    ['GET', '/v1/instances?limit=ten', undefined],
    ['GET', '/v1/instances?after=1', undefined],
    ['GET', '/v1/instances?colour=blue', undefined],
    ['GET', '/v1/events', undefined, { 'last-event-id': 'seven' }],
  ]
  for (const [method, path, body, headers] of bad) {
    const answer = await send(alice, method, path, body, headers)
    const label = `${method} ${path} ${JSON.stringify(body)}`
    expect([label, answer.status]).toEqual([label, 400])
    const { error } = errorBody.parse(answer.body)
    expect(error.code).toBe('malformed')
    expect(error.message).not.toMatch(/at .*\.ts|\/src\//)
  }
  expect(await count()).toBe(before)
  expect((await send(alice, 'PUT', '/v1/instances')).status).toBe(405)
  expect((await send(alice, 'GET', '/v1/nothing')).body).toMatchObject({ error: { code: 'noSuchPath' } })
})
