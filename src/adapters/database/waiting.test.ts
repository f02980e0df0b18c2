/** An operation that is started with another one and waits for its end. */
import { beforeAll, describe, expect, test } from 'vitest'
import { makeDatabase, type TestDatabase } from '../../../test/support/database.ts'
import { newId, type OperationId, type ProjectId, type UserId, type VolumeId } from '../../domain/ids.ts'
import type { Lock, Origin } from '../../domain/operation.ts'
import { refuse } from '../../domain/refusals.ts'
import type { Operations } from '../../ports/operations.ts'
import { createClaims } from './claims.ts'
import { type Ask, database as connected } from './connect.ts'
import { type Listener, listen } from './listen.ts'
import { createOperations } from './operations.ts'

const sagas = { first: { name: 'first', version: 3 }, second: { name: 'second', version: 7 } }
const known = Object.values(sagas)

let database: TestDatabase
let listener: Listener
let operations: Operations
let claims: ReturnType<typeof createClaims>

beforeAll(async () => {
  database = await makeDatabase()
  listener = listen(database.url)
  operations = createOperations({ db: database.db, listener, sagas, giveWayMs: 1_000 })
  claims = createClaims({ db: database.db, listener, owner: 'test' })
  return () => listener.close()
})

const origin = (more: Partial<Origin> = {}): Origin => ({
  requestId: newId(),
  userId: 'alice' as UserId,
  projectId: newId<ProjectId>(),
  ...more,
})
const exclusive = (resource: Lock['resource']): Lock[] => [{ resource, mode: 'exclusive' }]

/** The second waits for the first, which holds the volume that the second is about. */
async function beginBoth(volume: VolumeId, from = origin(), on = operations) {
  let first: OperationId | undefined
  const { id, repeated } = await on.begin({
    kind: 'second',
    origin: from,
    digestOf: volume,
    plan: async (_tx, take, by, also) => {
      await take(exclusive(`backup:${by}`))
      const begun = await also({
        kind: 'first',
        plan: async (_inner, takeToo) => {
          await takeToo(exclusive(`volume:${volume}`))
          return { params: { taken: true }, instance: null }
        },
      })
      first = begun
      return { params: { of: begun }, instance: null, waitsFor: begun, volumeOperation: { volume, name: 'backup' } }
    },
  })
  return { first: first!, second: id, repeated }
}

const claimed = async (): Promise<OperationId[]> => {
  const due = await claims.claim(known, 100)
  for (const claim of due) await claims.release(claim)
  return due.map(({ operation }) => operation)
}

async function end(id: OperationId, how: 'done' | 'undone' | 'quarantined'): Promise<void> {
  const due = await claims.claim(known, 100)
  for (const claim of due) {
    const journal = claims.journalOf(claim)
    if (claim.operation !== id) await claims.release(claim)
    else if (how === 'done') await journal.finished(null)
    else if (how === 'undone') await journal.wentBack({ code: 'x', message: 'y' }, async () => {})
    else await journal.stuck('step', { code: 'x', message: 'y' }, 0)
  }
  if (how === 'quarantined') await operations.forceEnd(id, origin())
}

test('both are there with locks, versions and an event of their own; the one that waits says for what', async () => {
  const volume = newId<VolumeId>()
  const from = origin({ idempotencyKey: newId() })
  const { first, second } = await beginBoth(volume, from)
  expect(await operations.show(first)).toMatchObject({ kind: 'first', params: { taken: true }, waitsFor: null })
  expect(await operations.show(second)).toMatchObject({ kind: 'second', params: { of: first }, waitsFor: first })
  const rows = await database.db
    .selectFrom('operations')
    .select(['kind', 'version', 'request_id', 'idempotency_key'])
    .where('id', 'in', [first, second])
    .orderBy('kind')
    .execute()
  expect(rows).toEqual([
    { kind: 'first', version: 3, request_id: from.requestId, idempotency_key: null },
    { kind: 'second', version: 7, request_id: from.requestId, idempotency_key: from.idempotencyKey },
  ])
  const events = await database.db
    .selectFrom('operation_events')
    .select(['operation_id', 'type'])
    .where('operation_id', 'in', [first, second])
    .orderBy('seq')
    .execute()
  expect(events).toEqual([
    { operation_id: first, type: 'created' },
    { operation_id: second, type: 'created' },
  ])
  expect(await beginBoth(volume, from)).toMatchObject({ second, repeated: true })
})

test('what the first holds is told as what the second is for', async () => {
  const volume = newId<VolumeId>()
  await beginBoth(volume)
  await expect(beginBoth(volume)).rejects.toEqual(refuse.volumeBusy({ operation: 'backup' }))
})

test.each(['done', 'undone', 'quarantined'] as const)('the second is due when the first is %s, and is woken', async (how) => {
  const { first, second } = await beginBoth(newId())
  expect(await claimed()).toContain(first)
  expect(await claimed()).not.toContain(second)
  let woken = 0
  const unsubscribe = listener.subscribe('comeback_work', (operation) => {
    if (operation === second) woken += 1
  })
  await end(first, how)
  expect(await claimed()).toContain(second)
  await expect.poll(() => woken).toBeGreaterThan(0)
  unsubscribe()
})

test('a second that is asked to stop while it waits is taken back only when the first has ended', async () => {
  const { first, second } = await beginBoth(newId())
  await operations.cancel(second)
  expect(await claimed()).not.toContain(second)
  await end(first, 'done')
  const due = await claims.claim(known, 100)
  expect(due.find(({ operation }) => operation === second)).toMatchObject({ cancelRequested: true })
  for (const claim of due) await claims.release(claim)
})

test('a plan that refuses after it has started another leaves neither', async () => {
  const from = origin()
  const refused = operations.begin({
    kind: 'second',
    origin: from,
    plan: async (_tx, _take, _id, also) => {
      await also({ kind: 'first', plan: async () => ({ params: {}, instance: null }) })
      throw refuse.noVault()
    },
  })
  await expect(refused).rejects.toEqual(refuse.noVault())
  expect(await operations.list({ project: from.projectId!, limit: 10 })).toEqual([])
})

describe('the connection breaks on commit', () => {
  /** Operations over a database whose first commit is lost, on its way there or back. */
  function losing(what: 'commit' | 'answer') {
    let left = 1
    const around = (ask: Ask): Ask => {
      return async (sql, parameters) => {
        if (!/^\s*commit/i.test(sql) || left-- <= 0) return ask(sql, parameters)
        await ask(what === 'commit' ? 'rollback' : 'commit', [])
        throw refuse.databaseUnavailable()
      }
    }
    return createOperations({ db: connected(database.pool, around), listener, sagas })
  }

  test.each(['commit', 'answer'] as const)('the %s is lost: each of the two is there once', async (what) => {
    const from = origin()
    const { first, second } = await beginBoth(newId(), from, losing(what))
    const all = await operations.list({ project: from.projectId!, limit: 10 })
    expect(all.map(({ id, waitsFor }) => [id, waitsFor]).toSorted()).toEqual(
      [
        [first, null],
        [second, first],
      ].toSorted(),
    )
    const events = await database.db
      .selectFrom('operation_events')
      .select('operation_id')
      .where('operation_id', 'in', [first, second])
      .execute()
    expect(events).toHaveLength(2)
  })
})
