/** Two at once, a client that goes away, a retry, a target that is deleted, a start that fails: what a rollback promises then. */
import { readdir, rename } from 'node:fs/promises'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Installation } from '../support/installation.ts'
import { type OpenStack, type Rollback, until } from '../support/openstack.ts'

const minutes = 60_000

let box: Installation
let cloud: OpenStack
let id: string
let snapshot: string

beforeAll(async () => {
  box = await Installation.start()
  cloud = await box.logIn()
  id = await cloud.createServer(await box.guestImage())
  await box.shell(id).run('echo then >/word && sync')
  snapshot = await cloud.snapshotServer(id, 'then')
}, 10 * minutes)
afterAll(() => box.end())

type Operation = { id: string; kind: string; state: string }
const rollbacks = async (): Promise<Operation[]> => {
  const { items } = await cloud.get<{ items: Operation[] }>(`/v1/operations?instance=${id}&limit=1000`)
  return items.filter(({ kind }) => kind === 'replace-heads')
}
const safetySnapshots = async (): Promise<
  { id: string; name: string; metadata: Record<string, string>; volume_id: string }[]
> => {
  const { snapshots } = await cloud.get<{ snapshots: Awaited<ReturnType<typeof safetySnapshots>> }>(
    cloud.volumePath('/snapshots/detail?limit=1000'),
  )
  return snapshots.filter(({ name }) => name.startsWith('_xloud_safety_'))
}

/** Every row of every table, without what only says that somebody asked, or that a host is there. */
async function everything(): Promise<Record<string, unknown>> {
  const client = new pg.Client({ connectionString: box.databaseUrl })
  await client.connect()
  try {
    const names = await client.query<{ name: string }>(
      `select table_name as name from information_schema.tables where table_schema = 'public'`,
    )
    const tables = names.rows.map(({ name }) => name).filter((name) => name !== 'tokens' && name !== 'audit_log')
    const found: Record<string, unknown> = {}
    for (const name of tables.sort()) {
      const { rows } = await client.query<{ row: object }>(
        `select to_jsonb(t) - '{seen_at,measured_at,free_bytes,total_bytes}'::text[] as row from ${name} t order by t::text`,
      )
      found[name] = rows.map(({ row }) => JSON.stringify(row)).sort()
    }
    return found
  } finally {
    await client.end()
  }
}

test('the preflight writes nothing', { timeout: 5 * minutes }, async () => {
  const tables = await until('a moment in which nothing else is going on', async () => {
    const before = await everything()
    await cloud.preflight(id, snapshot)
    const refused = await cloud.preflight(id, crypto.randomUUID())
    expect(refused['errors']).toEqual([
      expect.objectContaining({ message: 'Snapshot not found or not active', transient: true }),
    ])
    const native = await cloud.post<{ can_rollback: boolean; instance: string }>('/v1/preflights', {
      to: { instance_snapshot: snapshot },
    })
    expect(native).toMatchObject({ can_rollback: true, instance: id })
    return JSON.stringify(await everything()) === JSON.stringify(before) ? before : null
  })
  expect(Object.keys(tables)).toEqual(expect.arrayContaining(['layers', 'locks', 'operations', 'volume_snapshots', 'volumes']))
})

test('while one runs, others get 409, its target cannot be deleted, its client may go, and a retry with its key is the same', {
  timeout: 10 * minutes,
}, async () => {
  // A guest that does not listen to its power button lets the rollback wait.
  await box.shell(id).run('echo now >/word; sync; rm /run/qemu-ga.options; killall qemu-ga; killall dd; true')
  const before = (await rollbacks()).length
  const leaving = new AbortController()
  const body = { snapshot_id: snapshot, stop_mode: 'graceful', stop_timeout: 25 }
  const key = { 'idempotency-key': crypto.randomUUID() }
  const first = cloud
    .action(id, { 'xloud-rollback': body }, { headers: key, signal: leaving.signal })
    .catch((error: Error) => error.name)
  const running = await until(
    'the rollback to run',
    async () => (await rollbacks()).find(({ state }) => state === 'running') ?? null,
  )

  const second = await cloud.action(id, { 'xloud-rollback': { snapshot_id: snapshot } })
  expect(second).toMatchObject({
    status: 409,
    body: { conflictingRequest: { code: 409, message: expect.stringContaining('Another operation is in progress') } },
  })
  const dryRun = await cloud.preflight(id, snapshot)
  expect(dryRun).toMatchObject({
    can_rollback: false,
    errors: [{ transient: true, message: expect.stringContaining('Another operation is in progress') }],
  })
  expect((await cloud.ask('DELETE', `/image/v2/images/${snapshot}`)).status).toBe(409)
  expect((await cloud.action(id, { 'os-start': null })).status).toBe(409)

  leaving.abort()
  expect(await first).toBe('AbortError')
  expect(await rollbacks()).toHaveLength(before + 1)
  const again = await cloud.rollBack(id, snapshot, body, { headers: key })
  expect(again).toMatchObject({ state: 'completed', operation_id: running.id })
  expect(await rollbacks()).toHaveLength(before + 1)
  const other = await cloud.action(id, { 'xloud-rollback': { ...body, power_state_after: 'off' } }, { headers: key })
  expect(other.status).toBeGreaterThanOrEqual(400)
  expect(await box.shell(id).run('cat /word')).toBe('then')
})

test('two at the same moment: one runs, the other is refused', { timeout: 10 * minutes }, async () => {
  const before = (await rollbacks()).length
  const answers = await Promise.all(
    [1, 2].map(() => cloud.action(id, { 'xloud-rollback': { snapshot_id: snapshot, stop_mode: 'hard' } })),
  )
  const [good, bad] = answers.toSorted((a, b) => a.status - b.status)
  expect([good?.status, bad?.status]).toEqual([200, 409])
  expect(JSON.stringify(bad?.body)).toContain('Another operation is in progress')
  expect(await rollbacks()).toHaveLength(before + 1)
})

test('safety snapshots are named after request, device and time, are tagged, and undo', { timeout: 10 * minutes }, async () => {
  await box.shell(id).run('echo unsaved >/word && sync')
  const answer = await cloud.rollBack(id, snapshot)
  const made = (await safetySnapshots()).filter((one) => answer.safety_snapshot_ids.includes(one.id))
  expect(made.map(({ name }) => name.replace(/_\d{8}T\d{6}Z$/, '_<time>')).sort()).toEqual(
    ['vda', 'vdb'].map((device) => `_xloud_safety_${answer.request_id}_${device}_<time>`),
  )
  for (const { metadata } of made) expect(metadata).toMatchObject({ xloud_request_id: answer.request_id })
  await cloud.rollBack(id, answer.safety_snapshot_ids)
  expect(await box.shell(id).run('cat /word')).toBe('unsaved')
})

test('a machine that does not start again: completed with a warning, in error, its safety snapshots kept, and undone by one call', {
  timeout: 10 * minutes,
}, async () => {
  await box.shell(id).run('echo before >/word && sync')
  const blobs = join(box.state, 'pool/blobs')
  await rename(blobs, `${blobs}.away`)
  let answer: Rollback
  try {
    answer = await cloud.rollBack(id, snapshot)
    expect(answer).toMatchObject({ state: 'completed', power_state: 'off' })
    expect(answer.warnings).not.toEqual([])
    expect(await cloud.serverIs(id, 'ERROR')).toMatchObject({
      fault: { message: expect.stringContaining('undo the rollback') },
    })
  } finally {
    await rename(`${blobs}.away`, blobs)
  }
  expect((await readdir(blobs)).length).toBeGreaterThan(0)
  const kept = (await safetySnapshots()).map((one) => one.id)
  for (const safety of answer.safety_snapshot_ids) expect(kept).toContain(safety)
  await cloud.rollBack(id, answer.safety_snapshot_ids)
  await cloud.serverIs(id, 'ACTIVE')
  expect(await box.shell(id).run('cat /word')).toBe('before')
})

test("the target was deleted before: the seed's words, and nothing is stopped", { timeout: 5 * minutes }, async () => {
  const gone = await cloud.snapshotServer(id, 'gone')
  await cloud.remove(`/image/v2/images/${gone}`)
  const answer = await cloud.action(id, { 'xloud-rollback': { snapshot_id: gone } })
  expect(answer).toMatchObject({ status: 409, body: { conflictingRequest: { message: 'Snapshot not found or not active' } } })
  expect((await cloud.server(id)).status).toBe('ACTIVE')
})
