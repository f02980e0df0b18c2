/** Rolling back through the compute service: the seed's own requests, its answers, and who is refused. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { beforeAll, describe, expect, test } from 'vitest'
import { makeFlavor, makeServer, makeSnapshot, serverWhen, until } from '../support/first-server.ts'
import { administrator, type Call, type Person, person } from '../support/people.ts'
import { type Product, startProduct } from '../support/product.ts'

let product: Product
let anna: Person
let otto: Person
let server: { id: string; data: string }
let snapshot: string
beforeAll(async () => {
  product = await startProduct()
  const admin = await administrator(product)
  await makeFlavor(admin.call)
  anna = await person(product, 'anna', 'member', 'blue')
  otto = await person(product, 'otto', 'member', 'red')
  server = await makeServer(anna.call, 'vm')
  snapshot = await makeSnapshot(anna.call, server.id, 'A')
})

const act = (call: Call, body: object, headers: Readonly<Record<string, string>> = {}) =>
  call('POST', `/compute/v2.1/servers/${server.id}/action`, { body, headers })
const rolledBackBy = async () =>
  (await product.db.selectFrom('operations').select('id').where('kind', '=', 'replace-heads').execute()).length

describe('by the curl lines of the documentation', () => {
  const curl = async (data: object) => {
    const { stdout } = await promisify(execFile)('curl', [
      ...['-sS', '-X', 'POST', '-H', `X-Auth-Token: ${anna.token}`, '-H', 'Content-Type: application/json'],
      ...['-d', JSON.stringify(data), `${product.url}/compute/v2.1/servers/${server.id}/action`],
    ])
    return JSON.parse(stdout)
  }

  test('the dry run tells what would happen and writes nothing', async () => {
    const before = await rolledBackBy()
    const answer = await curl({ 'xloud-rollback-dry-run': { snapshot_id: snapshot } })
    expect(answer.xloud_rollback_dry_run).toMatchObject({
      can_rollback: true,
      backend: 'qcow2',
      instance_uuid: server.id,
      snapshot_id: snapshot,
      volumes: [
        { device: '/dev/vda', size_gb: 1 },
        { device: '/dev/vdb', volume_id: server.data },
      ],
      errors: [],
      estimated_downtime_seconds: expect.any(Number),
    })
    expect(await rolledBackBy()).toBe(before)
  })

  test('the rollback answers when it is done', async () => {
    const answer = await curl({
      'xloud-rollback': { snapshot_id: snapshot, skip_safety_snapshot: false, power_state_after: 'on' },
    })
    expect(answer.xloud_rollback).toMatchObject({
      request_id: expect.stringMatching(/^req-[0-9a-f-]{36}$/),
      instance_uuid: server.id,
      snapshot_id: snapshot,
      state: 'completed',
      volumes_reverted: [{ elapsed_seconds: expect.any(Number) }, { elapsed_seconds: expect.any(Number) }],
      safety_snapshot_ids: [expect.any(String), expect.any(String)],
      duration_seconds: expect.any(Number),
    })
    expect(await serverWhen(anna.call, server.id, 'ACTIVE')).toMatchObject({ name: 'vm' })
    const { json } = await anna.call('GET', '/volume/v3/snapshots/detail?name=_xloud_safety_')
    expect(json.snapshots).toHaveLength(2)
    for (const { name } of json.snapshots) expect(name).toContain(`_xloud_safety_${answer.xloud_rollback.request_id}_vd`)
  })
})

test('back through the safety snapshots, and powered off if asked', async () => {
  const { json } = await act(anna.call, { 'xloud-rollback': { snapshot_id: snapshot } })
  const safety = json.xloud_rollback.safety_snapshot_ids
  const undone = await act(anna.call, {
    'xloud-rollback': { snapshot_id: safety, power_state_after: 'off', stop_mode: 'hard', skip_safety_snapshot: true },
  })
  expect(undone.json.xloud_rollback).toMatchObject({ state: 'completed', safety_snapshot_ids: [], power_state: 'off' })
  await serverWhen(anna.call, server.id, 'SHUTOFF')
  const single = await act(anna.call, { 'xloud-rollback': { snapshot_id: safety[0], disks: ['vda'], power_state_after: 'on' } })
  expect(single.json.xloud_rollback.volumes_reverted).toMatchObject([{ device: '/dev/vda' }])
  await serverWhen(anna.call, server.id, 'ACTIVE')
})

test('the same Idempotency-Key is the same operation; for something else it is refused', async () => {
  const headers = { 'idempotency-key': 'once-only' }
  const before = await rolledBackBy()
  const [one, two] = await Promise.all([
    act(anna.call, { 'xloud-rollback': { snapshot_id: snapshot } }, headers),
    act(anna.call, { 'xloud-rollback': { snapshot_id: snapshot } }, headers),
  ])
  expect([one.status, two.status]).toEqual([200, 200])
  expect(one.json.xloud_rollback.operation_id).toBe(two.json.xloud_rollback.operation_id)
  expect(await rolledBackBy()).toBe(before + 1)
  const other = await act(anna.call, { 'xloud-rollback': { snapshot_id: snapshot, power_state_after: 'off' } }, headers)
  expect(other).toMatchObject({
    status: 409,
    json: { conflictingRequest: { message: expect.stringContaining('Idempotency-Key') } },
  })
})

test('two at once: one runs, the other is told that another operation is in progress', async () => {
  const answers = await Promise.all([1, 2].map(() => act(anna.call, { 'xloud-rollback': { snapshot_id: snapshot } })))
  const statuses = answers.map(({ status }) => status).sort()
  expect(statuses).toEqual([200, 409])
  expect(answers.find(({ status }) => status === 409)?.json.conflictingRequest.message).toContain(
    'Another operation is in progress',
  )
})

test('a client that goes away changes nothing: the operation ends by itself', async () => {
  const before = await rolledBackBy()
  const away = new AbortController()
  const request = fetch(`${product.url}/compute/v2.1/servers/${server.id}/action`, {
    method: 'POST',
    headers: { 'x-auth-token': anna.token, 'content-type': 'application/json' },
    body: JSON.stringify({ 'xloud-rollback': { snapshot_id: snapshot } }),
    signal: away.signal,
  })
  await until('the rollback began', async () => (await rolledBackBy()) > before)
  away.abort()
  await expect(request).rejects.toThrow()
  const ended = await until('it ended', async () => {
    const latest = await product.db
      .selectFrom('operations')
      .selectAll()
      .where('kind', '=', 'replace-heads')
      .orderBy('created_at', 'desc')
      .executeTakeFirst()
    return latest?.ended_at ? latest : undefined
  })
  expect(ended.state).toBe('done')
})

describe('refused', () => {
  test('a snapshot that is not there, in the words of the documentation', async () => {
    for (const name of ['xloud-rollback', 'xloud-rollback-dry-run']) {
      const answer = await act(anna.call, { [name]: { snapshot_id: 'c7f35a4c-7c0f-4d8c-9f7a-0d4a3a3f7d10' } })
      if (name === 'xloud-rollback')
        expect(answer).toMatchObject({
          status: 409,
          json: { conflictingRequest: { message: 'Snapshot not found or not active' } },
        })
      else
        expect(answer.json.xloud_rollback_dry_run).toMatchObject({
          can_rollback: false,
          errors: [{ message: 'Snapshot not found or not active' }],
        })
    }
  })

  test("another project's instance, its snapshots, and a reader", async () => {
    expect((await act(otto.call, { 'xloud-rollback': { snapshot_id: snapshot } })).status).toBe(404)
    const own = await makeServer(otto.call, 'otto-vm')
    const stolen = await otto.call('POST', `/compute/v2.1/servers/${own.id}/action`, {
      body: { 'xloud-rollback': { snapshot_id: snapshot } },
    })
    expect(stolen).toMatchObject({ status: 409, json: { conflictingRequest: { message: 'Snapshot not found or not active' } } })
    const rita = await person(product, 'rita', 'reader', 'blue')
    expect(await act(rita.call, { 'xloud-rollback': { snapshot_id: snapshot } })).toMatchObject({
      status: 403,
      json: { forbidden: { message: "Policy doesn't allow os_compute_api:xloud_rollback:rollback to be performed." } },
    })
    expect((await act(rita.call, { 'xloud-rollback-dry-run': { snapshot_id: snapshot } })).status).toBe(200)
  })

  test('words and numbers that are not offered', async () => {
    const wrong = [
      {},
      { snapshot_id: 'x' },
      { snapshot_id: [] },
      { snapshot_id: snapshot, nonsense: 1 },
      { snapshot_id: snapshot, power_state_after: 'maybe' },
      { snapshot_id: snapshot, skip_safety_snapshot: 'yes' },
      { snapshot_id: snapshot, stop_timeout: -1 },
      { snapshot_id: snapshot, disks: [] },
    ]
    for (const body of wrong) expect((await act(anna.call, { 'xloud-rollback': body })).status, JSON.stringify(body)).toBe(400)
    const unknown = await act(anna.call, { 'xloud-rollback': { snapshot_id: snapshot, disks: ['vdz'] } })
    expect(unknown.status).toBe(400)
  })

  test('a locked instance, until it is unlocked', async () => {
    await act(anna.call, { lock: null })
    expect(await act(anna.call, { 'xloud-rollback': { snapshot_id: snapshot } })).toMatchObject({ status: 409 })
    expect(await act(anna.call, { 'os-stop': null })).toMatchObject({
      status: 409,
      json: { conflictingRequest: { message: `Instance ${server.id} is locked` } },
    })
    const disks = `/compute/v2.1/servers/${server.id}/os-volume_attachments`
    const attach = { body: { volumeAttachment: { volumeId: server.data } } }
    expect((await anna.call('POST', disks, attach)).status).toBe(409)
    expect((await anna.call('DELETE', `${disks}/${server.data}`)).status).toBe(409)
    await act(anna.call, { unlock: null })
    expect((await act(anna.call, { 'xloud-rollback': { snapshot_id: snapshot } })).status).toBe(200)
  })
})

test('a policy file decides who rolls back', async () => {
  const strict = await startProduct({ policy: { 'os_compute_api:xloud_rollback:rollback': 'rule:admin_api' } })
  const admin = await administrator(strict)
  await makeFlavor(admin.call)
  const mia = await person(strict, 'mia', 'member', 'green')
  const { id } = await makeServer(mia.call, 'vm')
  const image = await makeSnapshot(mia.call, id, 'A')
  const body = { 'xloud-rollback': { snapshot_id: image } }
  expect((await mia.call('POST', `/compute/v2.1/servers/${id}/action`, { body })).status).toBe(403)
  expect((await admin.call('POST', `/compute/v2.1/servers/${id}/action`, { body })).status).toBe(200)
})
