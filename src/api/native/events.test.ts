import { setTimeout as wait } from 'node:timers/promises'
import { beforeAll, expect, test } from 'vitest'
import { createClient } from '../../../contract/client.ts'
import { endpoints } from '../../../contract/index.ts'
import { breakingProxy } from '../../../test/support/breaking-proxy.ts'
import { type NativeServer, nativeServer, type TestUser } from '../../../test/support/native-server.ts'
import type { InstanceId, OperationId } from '../../domain/ids.ts'

let server: NativeServer
let alice: TestUser
let instance: InstanceId
let snapshot: string

beforeAll(async () => {
  server = await nativeServer()
  alice = await server.user('alice', 'blue', 'member')
  instance = await server.instance(alice, 'web')
  const { operation, snapshot: image } = await clientAt(server.url).call(endpoints.takeInstanceSnapshot, {
    params: { instance },
    body: { name: 'A' },
  })
  await server.done({ operation: operation.id })
  snapshot = image
})

const clientAt = (url: string) => createClient({ url, token: async () => alice.token, patienceMs: 2000 })

async function rollBack() {
  const body = { to: { instance_snapshot: snapshot } }
  const { operation } = await clientAt(server.url).call(endpoints.rollBackInstance, { params: { instance }, body })
  return operation
}

const written = async (after: number, operation?: OperationId) => {
  let query = server.db.selectFrom('operation_events').select(['seq', 'operation_id']).where('seq', '>', after).orderBy('seq')
  if (operation) query = query.where('operation_id', '=', operation)
  return (await query.execute()).map(({ seq }) => seq)
}

const open = (path: string, headers: Record<string, string> = {}) =>
  fetch(`${server.url}${path}`, { headers: { 'x-auth-token': alice.token, ...headers } })

test('over connections that break anywhere, every event of an operation comes once and in order', async () => {
  let cut = 0
  const proxy = await breakingProxy(server.url, () => {
    cut += 397
    return 700 + (cut % 2000)
  })
  try {
    const operation = await rollBack()
    const seen: number[] = []
    for await (const { seq } of clientAt(proxy.url).follow(endpoints.watchOperation, { params: { operation: operation.id } })) {
      seen.push(seq)
    }
    expect(seen).toEqual(await written(0, operation.id))
    expect(seen.length).toBeGreaterThan(10)
    expect(proxy.cuts()).toBeGreaterThan(2)
  } finally {
    await proxy.close()
  }
})

test('the stream of a project goes on where it broke, across operations', async () => {
  const [from = 0] = (await written(0)).slice(-1)
  const proxy = await breakingProxy(server.url, () => 4_000)
  const over = new AbortController()
  const seen: number[] = []
  const query = { after: from }
  const following = (async () => {
    const how = { signal: over.signal }
    for await (const { seq } of clientAt(proxy.url).follow(endpoints.watchOperations, { query }, how)) seen.push(seq)
  })().catch((error: unknown) => over.signal.aborted || Promise.reject(error))
  for (let n = 0; n < 3; n++) await server.done({ operation: (await rollBack()).id })
  const expected = await written(from)
  for (let tries = 0; seen.length < expected.length && tries < 100; tries++) await wait(50)
  over.abort()
  await following
  await proxy.close()
  expect(seen).toEqual(expected)
  expect(proxy.cuts()).toBeGreaterThan(1)
})

test('the stream of an ended operation ends by itself; asked to go on after its end, there is no content', async () => {
  const operation = await rollBack()
  await server.done({ operation: operation.id })
  const path = `/v1/operations/${operation.id}/events`
  const whole = await open(path)
  expect(whole.headers.get('content-type')).toContain('text/event-stream')
  const text = await whole.text()
  const ids = [...text.matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id))
  expect(ids).toEqual(await written(0, operation.id))
  const middle = ids[4] ?? 0
  const rest = await (await open(path, { 'last-event-id': String(middle) })).text()
  expect([...rest.matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id))).toEqual(ids.filter((id) => id > middle))
  expect((await open(path, { 'last-event-id': String(ids.at(-1)) })).status).toBe(204)
})

test('only events of the own project are in its stream', async () => {
  const bob = await server.user('bob', 'red', 'member')
  const answer = await fetch(`${server.url}/v1/events?after=0`, { headers: { 'x-auth-token': bob.token } })
  const own = await server.instance(bob, 'his')
  let text = ''
  for await (const chunk of answer.body ?? []) {
    text += new TextDecoder().decode(chunk)
    if (text.includes('event: ended')) break
  }
  const operations = [...text.matchAll(/"operation":"([^"]+)"/g)].map(([, id]) => id)
  const mine = await server.db.selectFrom('operations').select('id').where('instance_id', '=', own).execute()
  expect(new Set(operations)).toEqual(new Set(mine.map(({ id }) => id)))
})

test('closing the server ends streams that nobody reads', async () => {
  const answer = await open('/v1/events')
  const began = performance.now()
  await server.app.close()
  expect(performance.now() - began).toBeLessThan(20_000)
  await answer.body?.cancel().catch(() => {})
})
