import { sql } from 'kysely'
import { expect, test } from 'vitest'
import { makeDatabase } from '../../../test/support/database.ts'
import { takeLocksFor } from '../../adapters/database/take-locks.ts'
import { type LayerId, newId, type OperationId, type PoolId } from '../../domain/ids.ts'
import { exclusive } from '../locks.ts'
import { catchUp } from './catch-up.ts'

const { db } = await makeDatabase()

const catchesUp = (epoch: number) => db.transaction().execute((tx) => catchUp(tx, epoch))
const next = async (): Promise<number> =>
  Number((await sql<{ epoch: string }>`select nextval('epochs') as epoch`.execute(db)).rows[0]?.epoch)
const pool = newId<PoolId>()
const layer = newId<LayerId>()
const lockLayer = () => db.transaction().execute((tx) => takeLocksFor(tx, newId<OperationId>())(exclusive('layer', layer)))

test('a host that has seen no greater epoch changes nothing', async () => {
  await db.insertInto('pools').values({ id: pool, name: 'pool', kind: 'qcow2' }).execute()
  await db
    .insertInto('layers')
    .values({ id: layer, pool_id: pool, parent_point_id: null, size_bytes: 1, state: 'present', made_by: newId() })
    .execute()
  const before = await next()
  await catchesUp(before)
  expect(await next()).toBe(before + 1)
  expect(await db.selectFrom('pools').select('ahead_since').execute()).toEqual([{ ahead_since: null }])
})

test('a greater one raises the sequence beyond it, ends what was open, and closes the pools to all but recovery', async () => {
  const operation = newId<OperationId>()
  await sql`insert into operations (id, kind, version, params, state, request_id) values (${operation}, 'x', 1, '{}', 'running', 'req')`.execute(
    db,
  )
  await db
    .insertInto('locks')
    .values({ resource: `layer:${layer}`, mode: 'exclusive', operation_id: operation })
    .execute()
  const seen = (await next()) + 5_000
  await catchesUp(seen)
  expect(await next()).toBeGreaterThan(seen)
  expect(
    await db.selectFrom('operations').select(['state', 'problem']).where('id', '=', operation).executeTakeFirst(),
  ).toMatchObject({
    state: 'quarantined',
    problem: { code: 'restored' },
  })
  expect(await db.selectFrom('locks').selectAll().execute()).toEqual([])
  await expect(lockLayer()).rejects.toMatchObject({
    code: 'poolAhead',
    message: expect.stringContaining("'comeback recover --from-pools'"),
  })
  await db.transaction().execute((tx) => takeLocksFor(tx, operation)(exclusive('pool', pool)))
})
