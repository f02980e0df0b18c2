import { beforeAll, describe, expect, test } from 'vitest'
import { createClient } from '../../../contract/client.ts'
import { errorBody } from '../../../contract/errors.ts'
import { endpoints } from '../../../contract/index.ts'
import { type NativeServer, nativeServer, type TestUser } from '../../../test/support/native-server.ts'
import { quietLog } from '../../../test/support/quiet-log.ts'
import { stalledWatcher } from '../../app/watchers/stalled.ts'
import type { InstanceId, PlanId, VolumeId } from '../../domain/ids.ts'

const MiB = 1024 ** 2
let server: NativeServer
let alice: TestUser
let carol: TestUser
let admin: TestUser

beforeAll(async () => {
  server = await nativeServer()
  alice = await server.user('alice', 'blue', 'member')
  carol = await server.user('carol', 'blue', 'member')
  admin = await server.user('root', 'admins', 'admin')
})

const clientOf = ({ token }: TestUser) => createClient({ url: server.url, token: async () => token, patienceMs: 0 })

async function send(user: TestUser, method: string, path: string, body?: unknown) {
  const response = await fetch(`${server.url}${path}`, {
    method,
    headers: { 'x-auth-token': user.token, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const answer: unknown = await response.json()
  return { status: response.status, headers: response.headers, body: answer }
}
const codeOf = ({ body }: { body: unknown }) => errorBody.safeParse(body).data?.error.code ?? 'accepted'
const messageOf = ({ body }: { body: unknown }) => errorBody.parse(body).error.message

const makePlan = async (name: string, terms: object = {}) =>
  (await clientOf(admin).call(endpoints.createPlan, { body: { name, cooldown_seconds: 0, ...terms } })).id

async function makeVolume(name: string, plan?: PlanId): Promise<VolumeId> {
  const body = { name, source: { size_bytes: MiB }, ...(plan ? { plan } : {}) }
  const { volume, operation } = await clientOf(alice).call(endpoints.createVolume, { body })
  await server.done({ operation: operation.id })
  return volume
}

const show = (volume: VolumeId) => clientOf(alice).call(endpoints.showVolume, { params: { volume } })
const ask = (volume: VolumeId, user = alice) => send(user, 'POST', '/v1/volume-snapshots', { volume })

async function snapshot(volume: VolumeId, name?: string) {
  const taken = await clientOf(alice).call(endpoints.takeVolumeSnapshot, { body: { volume, ...(name ? { name } : {}) } })
  await server.done({ operation: taken.operation.id })
  return taken.snapshot
}

/** Holds all that makes layers, and all that takes them back, until it is opened. */
function closedGate() {
  const { promise, resolve } = Promise.withResolvers<void>()
  const { pool } = server
  const { newLayer, remove } = pool
  let waiting = 0
  pool.newLayer = async (...layer) => {
    waiting++
    await promise
    return newLayer.apply(pool, layer)
  }
  pool.remove = async (layer) => {
    await promise
    return remove.call(pool, layer)
  }
  const open = async () => {
    Object.assign(pool, { newLayer, remove })
    resolve()
    const going = await server.operations.list({ states: ['pending', 'running', 'undoing'], limit: 1000 })
    await Promise.all(going.map(({ id }) => server.operations.ended(id)))
  }
  return { open, waiting: () => waiting }
}

const tally = (codes: readonly string[]) =>
  Object.fromEntries([...new Set(codes)].map((code) => [code, codes.filter((other) => other === code).length]))

const expireCooldown = (volume: VolumeId) =>
  server.db
    .updateTable('volumes')
    .set({ cooldown_until: new Date(Date.now() - 1000) })
    .where('id', '=', volume)
    .execute()

describe('of fifty requests at once exactly as many pass as the guard allows', () => {
  test('one operation a volume, and what it is busy with is shown', async () => {
    const volume = await makeVolume('one')
    const { open } = closedGate()
    const answers = await Promise.all(Array.from({ length: 50 }, () => ask(volume)))
    expect(tally(answers.map(codeOf))).toEqual({ accepted: 1, volumeBusy: 49 })
    expect(messageOf(answers.find(({ status }) => status === 409)!)).toBe('Volume is busy with operation: snapshot')
    expect(await show(volume)).toMatchObject({ active_operation: 'snapshot', busy_with: { kind: 'take-points' } })
    const { items } = await clientOf(alice).call(endpoints.listVolumeSnapshots, { query: { volume } })
    expect(items.map(({ state }) => state)).toEqual(['creating'])
    await open()
    expect(await show(volume)).toMatchObject({ active_operation: null, snapshots: 1 })
  })

  test('three operations a user over all volumes; another user has three of his own', async () => {
    const volumes = await Promise.all(Array.from({ length: 50 }, (_, n) => makeVolume(`many-${n}`)))
    const { open } = closedGate()
    const answers = await Promise.all(volumes.map((volume) => ask(volume)))
    expect(tally(answers.map(codeOf))).toEqual({ accepted: 3, volumeOperationLimit: 47 })
    const free = volumes.filter((_, n) => codeOf(answers[n]!) !== 'accepted')
    const others = await Promise.all(free.map((volume) => ask(volume, carol)))
    expect(tally(others.map(codeOf))).toEqual({ accepted: 3, volumeOperationLimit: 44 })
    await open()
    expect(codeOf(await ask(free.at(-1)!))).toBe('accepted')
  })

  test('the cap of the plan', async () => {
    const volume = await makeVolume('capped', await makePlan('four', { max_snapshots: 4 }))
    const persist = async (): Promise<string> => {
      for (;;) {
        const answer = await ask(volume)
        if (codeOf(answer) !== 'volumeBusy') return codeOf(answer)
        await new Promise((resolve) => setImmediate(resolve))
      }
    }
    const codes = await Promise.all(Array.from({ length: 50 }, persist))
    expect(tally(codes)).toEqual({ accepted: 4, snapshotLimit: 46 })
    const refused = await ask(volume)
    expect(refused.status).toBe(413)
    expect(messageOf(refused)).toBe('Snapshot limit reached. Delete an existing snapshot first.')
    const { items } = await clientOf(alice).call(endpoints.listVolumeSnapshots, { query: { volume } })
    const [{ id, name }] = items as [(typeof items)[0]]
    const gone = await send(alice, 'DELETE', `/v1/volume-snapshots/${id}?confirm=${encodeURIComponent(name)}`)
    await server.done({ operation: endpoints.deleteVolumeSnapshot.answer.parse(gone.body).operation.id })
    expect(codeOf(await ask(volume))).toBe('accepted')
  })

  test('the cooldown, with the seconds left as a field and as Retry-After', async () => {
    const volume = await makeVolume('cooling', await makePlan('slow', { cooldown_seconds: 300, max_snapshots: 100 }))
    await snapshot(volume)
    const answers = await Promise.all(Array.from({ length: 50 }, () => ask(volume)))
    expect(tally(answers.map(codeOf))).toEqual({ volumeCooldown: 50 })
    const [first] = answers
    expect(first!.status).toBe(429)
    const { message, facts } = errorBody.parse(first!.body).error
    const seconds = Number(facts?.['retry_after_seconds'])
    expect(seconds).toBeGreaterThan(200)
    expect(seconds).toBeLessThanOrEqual(300)
    expect(message).toBe(`Volume is in cooldown. Try again in ${seconds} seconds.`)
    expect(first!.headers.get('retry-after')).toBe(String(seconds))
    expect((await show(volume)).cooldown_seconds).toBeGreaterThan(200)

    await expireCooldown(volume)
    expect((await show(volume)).cooldown_seconds).toBe(0)
    const { open } = closedGate()
    const later = await Promise.all(Array.from({ length: 50 }, () => ask(volume)))
    expect(tally(later.map(codeOf))).toEqual({ accepted: 1, volumeBusy: 49 })
    await open()
  })
})

describe('what guard rails do not bind', () => {
  let instance: InstanceId
  let volume: VolumeId
  beforeAll(async () => {
    instance = await server.instance(alice, 'guarded', 1)
    const { disks } = await clientOf(alice).call(endpoints.showInstance, { params: { instance } })
    volume = disks[0]!.volume
    const plan = await makePlan('strict', { max_snapshots: 1, cooldown_seconds: 300 })
    await clientOf(admin).call(endpoints.changeVolume, { params: { volume }, body: { plan } })
  })

  const takeInstance = async (name: string) => {
    const taken = await clientOf(alice).call(endpoints.takeInstanceSnapshot, { params: { instance }, body: { name } })
    await server.done({ operation: taken.operation.id })
    return taken.snapshot
  }

  test('instance snapshots, rollbacks, their undo and deletions neither start nor obey them', async () => {
    const first = await takeInstance('a')
    await takeInstance('b')
    expect(await show(volume)).toMatchObject({ cooldown_seconds: 0, snapshots: 2 })
    const own = await snapshot(volume, 'own')
    expect((await show(volume)).cooldown_seconds).toBeGreaterThan(0)
    await takeInstance('c')
    const { operation } = await clientOf(alice).call(endpoints.rollBackInstance, {
      params: { instance },
      body: { to: { instance_snapshot: first } },
    })
    await server.done({ operation: operation.id })
    const undo = await clientOf(alice).call(endpoints.undoOperation, { params: { operation: operation.id }, body: {} })
    await server.done({ operation: undo.operation.id })
    const gone = await send(alice, 'DELETE', `/v1/volume-snapshots/${own}?confirm=own`)
    expect(gone.status).toBe(202)
    await server.done({ operation: endpoints.deleteVolumeSnapshot.answer.parse(gone.body).operation.id })
    expect(codeOf(await ask(volume))).toBe('volumeCooldown')
  })

  test('an operation that failed starts no cooldown and counts for no cap', async () => {
    await expireCooldown(volume)
    const { pool } = server
    const before = pool.newLayer
    pool.newLayer = () => Promise.reject(new Error('no such luck'))
    const taken = await clientOf(alice).call(endpoints.takeVolumeSnapshot, { body: { volume } })
    expect(await server.operations.ended(taken.operation.id)).toMatchObject({ state: 'undone' })
    pool.newLayer = before
    expect((await show(volume)).cooldown_seconds).toBe(0)
    const failed = await clientOf(alice).call(endpoints.showVolumeSnapshot, { params: { snapshot: taken.snapshot } })
    expect(failed.state).toBe('failed')
    await snapshot(volume)
  })
})

describe('restores', () => {
  test('in place: the name is typed, no running machine writes it, what was there is kept, and undo brings it back', async () => {
    const volume = await makeVolume('precious')
    const then = await snapshot(volume, 'then')
    const path = `/v1/volumes/${volume}/restores`
    const unconfirmed = await send(alice, 'POST', path, { snapshot: then, confirm: 'precius' })
    expect(codeOf(unconfirmed)).toBe('notConfirmed')
    expect(codeOf(await send(alice, 'POST', path, { snapshot: then }))).toBe('malformed')
    expect(codeOf(await send(alice, 'DELETE', `/v1/volume-snapshots/${then}?confirm=precious`))).toBe('notConfirmed')

    const restored = await clientOf(alice).call(endpoints.restoreVolume, {
      params: { volume },
      body: { snapshot: then, confirm: 'precious' },
    })
    await server.done({ operation: restored.operation.id })
    const query = { operation: restored.operation.id, kind: 'safety' } as const
    expect((await clientOf(alice).call(endpoints.listVolumeSnapshots, { query })).items).toHaveLength(1)
    const params = { operation: restored.operation.id }
    const undone = await clientOf(alice).call(endpoints.undoOperation, { params, body: {} })
    await server.done({ operation: undone.operation.id })
  })

  test('refused while attached to a running instance; when it is stopped the volume goes back under it', async () => {
    const instance = await server.instance(alice, 'owner', 2)
    const { disks } = await clientOf(alice).call(endpoints.showInstance, { params: { instance } })
    const { volume, name, device } = disks[1]!
    const then = await snapshot(volume, 'then')
    const body = { snapshot: then, confirm: name }
    const refused = await send(alice, 'POST', `/v1/volumes/${volume}/restores`, body)
    expect(refused.status).toBe(409)
    expect(messageOf(refused)).toMatch(/^Cannot restore in-place while attached to a running instance\. Stop instance/)
    await server.done(await server.commands.stopInstance(alice.caller, instance, { mode: 'hard', graceSeconds: 0 }))
    const { operation } = await clientOf(alice).call(endpoints.restoreVolume, { params: { volume }, body })
    await server.done({ operation: operation.id })
    const { items } = await clientOf(alice).call(endpoints.listVolumeSnapshots, { query: { volume, kind: 'safety' } })
    expect(items).toMatchObject([{ device, instance }])
    await server.done(await server.commands.startInstance(alice.caller, instance))
  })

  test('to a new volume: plan and name of the old one, or others', async () => {
    const plan = await makePlan('inherited')
    const other = await makePlan('other')
    const volume = await makeVolume('parent', plan)
    const source = { snapshot: await snapshot(volume) }
    const same = await clientOf(alice).call(endpoints.createVolume, { body: { source } })
    const different = await clientOf(alice).call(endpoints.createVolume, { body: { source, name: 'child', plan: other } })
    for (const { operation } of [same, different]) await server.done({ operation: operation.id })
    expect(await show(same.volume)).toMatchObject({ name: 'parent', plan })
    expect(await show(different.volume)).toMatchObject({ name: 'child', plan: other })
  })
})

test('plans: changed for all their volumes, kept while a volume is in one, one name once', async () => {
  const client = clientOf(admin)
  const plan = await makePlan('bronze', { cooldown_seconds: 300 })
  expect(codeOf(await send(admin, 'POST', '/v1/plans', { name: 'bronze' }))).toBe('nameTaken')
  const volume = await makeVolume('in bronze', plan)
  const lowered = await client.call(endpoints.changePlan, { params: { plan }, body: { max_snapshots: 0 } })
  expect(lowered).toMatchObject({ name: 'bronze', max_snapshots: 0, max_backups: 10, cooldown_seconds: 300 })
  expect(codeOf(await ask(volume))).toBe('snapshotLimit')
  expect(codeOf(await send(admin, 'DELETE', `/v1/plans/${plan}`))).toBe('inUse')
  await client.call(endpoints.changeVolume, { params: { volume }, body: { plan: null } })
  expect(codeOf(await ask(volume))).toBe('accepted')
  expect((await send(admin, 'DELETE', `/v1/plans/${plan}`)).status).toBe(200)
  expect(codeOf(await send(alice, 'POST', '/v1/plans', { name: 'mine' }))).toBe('forbidden')
  expect(codeOf(await send(alice, 'PATCH', `/v1/volumes/${volume}`, { plan: null }))).toBe('forbidden')
  const nowhere = { name: 'x', source: { size_bytes: MiB }, plan: crypto.randomUUID() }
  expect(codeOf(await send(alice, 'POST', '/v1/volumes', nowhere))).toBe('notFound')
})

test('an operation without progress is shown as failed, its worker shut out, and the volume free when it was taken back', async () => {
  const volume = await makeVolume('stuck')
  const { db, operations } = server
  const log = quietLog()
  const { open, waiting } = closedGate()
  const taken = await clientOf(alice).call(endpoints.takeVolumeSnapshot, { body: { volume } })
  const id = taken.operation.id
  const epochOf = async () =>
    (await db.selectFrom('operations').select('epoch').where('id', '=', id).executeTakeFirstOrThrow()).epoch
  await expect.poll(waiting).toBe(1)
  const look = (afterSeconds: number) =>
    stalledWatcher({ db, operations, log, afterSeconds }, 1000).look(new AbortController().signal)
  await look(3600)
  expect(log.lines).toEqual([])
  const before = await epochOf()
  await db
    .updateTable('operation_events')
    .set({ at: new Date(Date.now() - 7_300_000) })
    .where('operation_id', '=', id)
    .execute()
  await look(7200)
  expect(log.lines).toHaveLength(1)
  const params = { snapshot: taken.snapshot }
  expect((await clientOf(alice).call(endpoints.showVolumeSnapshot, { params })).state).toBe('failed')
  expect(await epochOf()).toBeGreaterThan(before)
  expect(codeOf(await ask(volume))).toBe('volumeBusy')
  await open()
  expect(await operations.ended(id)).toMatchObject({ state: 'undone', problem: { code: 'cancelled' } })
  await snapshot(volume)
})
