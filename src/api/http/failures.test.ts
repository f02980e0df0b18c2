import { expect, test } from 'vitest'
import { makeDatabase } from '../../../test/support/database.ts'
import { connect, database } from '../../adapters/database/connect.ts'
import { failureOf } from './failures.ts'

const { url } = await makeDatabase()

test('a request that meets a controller which is shutting down is told to come back', async () => {
  const pool = connect(url)
  await pool.end()
  const typed = await database(pool)
    .selectFrom('users')
    .select('id')
    .execute()
    .catch((error: unknown) => error)
  const bare = await pool.query('select 1').catch((error: unknown) => error)
  for (const error of [typed, bare]) expect(failureOf(error)).toMatchObject({ status: 503, code: 'databaseUnavailable' })
})
