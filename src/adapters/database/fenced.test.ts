import { sql } from 'kysely'
import { beforeEach, expect, test } from 'vitest'
import { makeDatabase } from '../../../test/support/database.ts'
import { newId, type OperationId } from '../../domain/ids.ts'
import type { Db } from '../../ports/tables.ts'
import { fencedDatabase } from './fenced.ts'

const { db, pool } = await makeDatabase()

let operation: OperationId
let fenced: Db

beforeEach(async () => {
  operation = newId()
  const row = { id: operation, kind: 'k', version: 1, state: 'running', params: '{}', request_id: 'r', epoch: 7 } as const
  const nobody = {
    instance_id: null,
    project_id: null,
    user_id: null,
    idempotency_key: null,
    request_digest: null,
    lease_owner: null,
  }
  await db
    .insertInto('operations')
    .values({ ...row, ...nobody })
    .execute()
  fenced = fencedDatabase(pool, { operation, epoch: 7 })
})

const overtake = () => db.updateTable('operations').set({ epoch: 8 }).where('id', '=', operation).execute()
const write = (on: Db) => on.insertInto('installation').values({ id: newId() }).returning('id').executeTakeFirstOrThrow()
const count = async () => (await db.selectFrom('installation').selectAll().execute()).length

test('the holder writes and reads, alone and in transactions', async () => {
  const before = await count()
  await write(fenced)
  await fenced.transaction().execute(async (tx) => {
    await tx.insertInto('installation').values({ id: newId() }).execute()
    await tx.insertInto('installation').values({ id: newId() }).execute()
  })
  expect(await count()).toBe(before + 3)
})

test('who was overtaken reads, and writes nothing', async () => {
  await overtake()
  const before = await count()
  await expect(write(fenced)).rejects.toMatchObject({ name: 'LeaseLost' })
  const inTransaction = fenced.transaction().execute((tx) => tx.insertInto('installation').values({ id: newId() }).execute())
  await expect(inTransaction).rejects.toMatchObject({ name: 'LeaseLost' })
  expect(await fenced.selectFrom('installation').selectAll().execute()).toHaveLength(before)
})

test('after a refusal or a failing statement the connection is as good as before', async () => {
  await expect(sql`insert into installation values ('not a uuid')`.execute(fenced)).rejects.toThrow('uuid')
  await overtake()
  await expect(write(fenced)).rejects.toMatchObject({ name: 'LeaseLost' })
  for (let n = 0; n < 12; n++) await write(db) // more than the pool has connections
  const { rows } = await sql<{ open: number }>`
    select count(*)::int as open from pg_stat_activity where datname = current_database() and state like 'idle in%'`.execute(db)
  expect(rows).toEqual([{ open: 0 }])
})
