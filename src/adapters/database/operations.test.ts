import { setTimeout as wait } from 'node:timers/promises'
import { sql } from 'kysely'
import { beforeAll, expect, onTestFinished, test } from 'vitest'
import { makeDatabase, type TestDatabase } from '../../../test/support/database.ts'
import { type InstanceId, newId, type OperationId, type ProjectId, type UserId } from '../../domain/ids.ts'
import type { Lock, Origin } from '../../domain/operation.ts'
import { refuse } from '../../domain/refusals.ts'
import type { Operations } from '../../ports/operations.ts'
import { appendEvent } from './append-event.ts'
import { createClaims } from './claims.ts'
import { listen } from './listen.ts'
import { createOperations } from './operations.ts'

const toy = { name: 'toy', version: 1 }
const background = { name: 'background', version: 1 }

let database: TestDatabase
let operations: Operations
let claims: ReturnType<typeof createClaims>

beforeAll(async () => {
  database = await makeDatabase()
  const listener = listen(database.url)
  operations = createOperations({ db: database.db, listener, sagas: { toy, background }, giveWayMs: 1_000 })
  claims = createClaims({ db: database.db, listener, owner: 'test' })
  return () => listener.close()
})

const origin = (more: Partial<Origin> = {}): Origin => ({
  requestId: newId(),
  userId: 'alice' as UserId,
  projectId: 'project' as ProjectId,
  ...more,
})

const begin = (
  locks: readonly Lock[],
  more: Partial<Parameters<Operations['begin']>[0]> = {},
  instance: InstanceId | null = null,
) =>
  operations.begin({
    kind: 'toy',
    origin: origin(),
    plan: async (_tx, take) => {
      await take(locks)
      return { params: { some: 'params' }, instance }
    },
    ...more,
  })

const exclusive = (...resources: Lock['resource'][]): Lock[] => resources.map((resource) => ({ resource, mode: 'exclusive' }))
const shared = (...resources: Lock['resource'][]): Lock[] => resources.map((resource) => ({ resource, mode: 'shared' }))

/** Runs what is due to its end, as a worker would. */
async function finish(id: OperationId): Promise<void> {
  for (const claim of await claims.claim([toy, background], 100)) {
    if (claim.operation !== id) await claims.release(claim)
    else await claims.journalOf(claim).finished({ fine: true })
  }
}

test('fifty requests for one instance at once: exactly one is begun, the others are told who has it', async () => {
  const instance = newId<InstanceId>()
  const tries = await Promise.allSettled(
    Array.from({ length: 50 }, () => begin(exclusive(`instance:${instance}`, 'volume:a', 'volume:b'), {}, instance)),
  )
  expect(tries.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  const reasons = tries.flatMap((one) => (one.status === 'rejected' ? [String(one.reason)] : []))
  expect(new Set(reasons)).toEqual(new Set([String(refuse.instanceBusy({ id: instance, operation: 'toy' }))]))
  expect(await operations.list({ instance, limit: 100 })).toHaveLength(1)
})

test('requests that lock the same volumes in different orders do not wait for each other for ever', async () => {
  const volumes = Array.from({ length: 6 }, () => `volume:${newId()}` as const)
  const tries = await Promise.allSettled(
    Array.from({ length: 30 }, (_, n) => begin(exclusive(...(n % 2 ? volumes : volumes.toReversed())))),
  )
  expect(tries.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
})

test('what is busy is said in the words for its kind', async () => {
  const [volume, snapshot] = [newId(), newId()]
  await begin(exclusive(`volume:${volume}`, `snapshot:${snapshot}`))
  await expect(begin(exclusive(`volume:${volume}`))).rejects.toEqual(refuse.volumeBusy({ operation: 'toy' }))
  await expect(begin(shared(`snapshot:${snapshot}`))).rejects.toEqual(
    refuse.resourceBusy({ what: 'snapshot', id: snapshot, operation: 'toy' }),
  )
})

test('many may share a resource, and nobody has it exclusively meanwhile', async () => {
  const snapshot = `snapshot:${newId()}` as const
  await begin(shared(snapshot))
  await begin(shared(snapshot))
  await expect(begin(exclusive(snapshot))).rejects.toMatchObject({ code: 'resourceBusy' })
})

test('a plan that refuses leaves nothing behind', async () => {
  const volume = `volume:${newId()}` as const
  const refusing = begin([], {
    plan: async (_tx, take) => {
      await take(exclusive(volume))
      throw refuse.snapshotUnusable()
    },
  })
  await expect(refusing).rejects.toEqual(refuse.snapshotUnusable())
  await begin(exclusive(volume))
})

test('locks are free when the operation has ended, and its result is shown', async () => {
  const volume = `volume:${newId()}` as const
  const { id } = await begin(exclusive(volume))
  expect(await operations.holders([volume, 'volume:other'])).toEqual(new Map([[volume, { id, kind: 'toy' }]]))
  const ended = operations.ended(id)
  await finish(id)
  expect(await ended).toMatchObject({ state: 'done', result: { fine: true }, params: { some: 'params' } })
  expect(await operations.holders([volume])).toEqual(new Map())
  await begin(exclusive(volume))
})

test('the same Idempotency-Key is the same operation, also when both arrive at once and when it has ended', async () => {
  const volume = `volume:${newId()}` as const
  const request = { origin: origin({ idempotencyKey: newId() }), digestOf: { b: 1, a: [2] } }
  const begun = await Promise.all([1, 2, 3].map(() => begin(exclusive(volume), request)))
  expect(new Set(begun.map(({ id }) => id)).size).toBe(1)
  expect(begun.filter(({ repeated }) => repeated)).toHaveLength(2)
  await finish(begun[0]!.id)
  expect(await begin(exclusive(volume), { ...request, digestOf: { a: [2], b: 1 } })).toEqual({
    id: begun[0]!.id,
    repeated: true,
  })
})

test('an Idempotency-Key used for something else is refused; another user may have the same', async () => {
  const idempotencyKey = newId()
  await begin([], { origin: origin({ idempotencyKey }), digestOf: 1 })
  await expect(begin([], { origin: origin({ idempotencyKey }), digestOf: 2 })).rejects.toEqual(refuse.idempotencyMismatch())
  const other = await begin([], { origin: origin({ idempotencyKey, userId: 'bob' as UserId }), digestOf: 2 })
  expect(other.repeated).toBe(false)
})

test('background work gives way to a request, which then has the resource', async () => {
  const layer = `layer:${newId()}` as const
  const holder = await begin(exclusive(layer), { kind: 'background', preemptible: true })
  const request = begin(exclusive(layer))
  await expect
    .poll(() => database.db.selectFrom('operations').select('cancel_requested').where('id', '=', holder.id).execute())
    .toEqual([{ cancel_requested: true }])
  await finish(holder.id)
  expect((await request).repeated).toBe(false)
})

test('background work that does not give way in time is named in the refusal', async () => {
  const layer = `layer:${newId()}` as const
  await begin(exclusive(layer), { kind: 'background', preemptible: true })
  await expect(begin(exclusive(layer))).rejects.toMatchObject({ code: 'resourceBusy', facts: { operation: 'background' } })
})

test('only a stuck operation can be forced to end: its locks are freed, its worker is shut out, and it is audited', async () => {
  const volume = `volume:${newId()}` as const
  const { id } = await begin(exclusive(volume))
  const administrator = origin({ userId: 'root' as UserId })
  await expect(operations.forceEnd(id, administrator)).rejects.toMatchObject({ code: 'operationNotStuck' })

  const claim = (await claims.claim([toy], 100)).find(({ operation }) => operation === id)!
  await claims.journalOf(claim).started('step', 1)
  await claims.journalOf(claim).stuck('step', { code: 'x', message: 'y' }, 60_000)
  expect(await operations.forceEnd(id, administrator)).toMatchObject({ state: 'quarantined' })
  await expect(claims.journalOf(claim).undone('step', [])).rejects.toMatchObject({ name: 'LeaseLost' })
  expect(await operations.holders([volume])).toEqual(new Map())
  expect(await database.db.selectFrom('audit_log').selectAll().where('operation_id', '=', id).execute()).toMatchObject([
    { user_id: 'root', action: 'operations:force-end', outcome: 'accepted' },
  ])
})

test('who watches events sees every one once and in order, whoever writes at the same time', async () => {
  const project = newId<ProjectId>()
  const seen: number[] = []
  const enough = new AbortController()
  const watching = (async () => {
    for await (const { seq } of operations.events({ project, after: 0 }, enough.signal)) seen.push(seq)
  })()
  await Promise.all(Array.from({ length: 60 }, () => begin([], { origin: origin({ projectId: project }) })))
  await expect.poll(() => seen.length).toBe(60)
  enough.abort()
  await watching
  expect(seen).toEqual(seen.toSorted((a, b) => a - b))
  expect(new Set(seen).size).toBe(60)
})

test('an event is not seen before one with a smaller number, however slowly that is written', async () => {
  const project = newId<ProjectId>()
  const { id: slow } = await begin([], { origin: origin({ projectId: project }) })
  const { id: quick } = await begin([], { origin: origin({ projectId: project }) })
  const seen: OperationId[] = []
  const enough = new AbortController()
  const watching = (async () => {
    for await (const { operation, type } of operations.events({ project, after: 0 }, enough.signal)) {
      if (type === 'progress') seen.push(operation)
    }
  })()
  const written = Promise.withResolvers<void>()
  const gate = Promise.withResolvers<void>()
  const first = database.db.transaction().execute(async (tx) => {
    await appendEvent(tx, slow, { type: 'progress', data: {} })
    written.resolve()
    await gate.promise
  })
  await written.promise
  const second = database.db.transaction().execute((tx) => appendEvent(tx, quick, { type: 'progress', data: {} }))
  await wait(300)
  expect(seen).toEqual([])
  gate.resolve()
  await Promise.all([first, second])
  await expect.poll(() => seen).toEqual([slow, quick])
  enough.abort()
  await watching
})

test('lists page backwards in time', async () => {
  const project = newId<ProjectId>()
  const ids: OperationId[] = []
  for (let n = 0; n < 5; n++) ids.unshift((await begin([], { origin: origin({ projectId: project }) })).id)
  const idsOf = async (filter: object) => (await operations.list({ project, limit: 2, ...filter })).map(({ id }) => id)
  expect(await idsOf({})).toEqual(ids.slice(0, 2))
  expect(await idsOf({ before: ids[1] })).toEqual(ids.slice(2, 4))
  expect(await idsOf({ states: ['done'] })).toEqual([])
})

test('the connections break: requests and watchers go on without a word of it', async () => {
  const { id } = await begin([])
  const ended = operations.ended(id)
  const notified = Promise.withResolvers<void>()
  onTestFinished(claims.onDue(() => notified.resolve()))
  await sql`select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid()`.execute(database.db)
  await notified.promise
  await begin([])
  await finish(id)
  expect((await ended).state).toBe('done')
})
