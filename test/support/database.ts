/**
 * One private PostgreSQL per test run, started by the first test file that wants a database; every file clones a migrated
 * template (about 40 ms) and drops its clone afterwards.
 */
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, inject } from 'vitest'
import { connect, database } from '../../src/adapters/database/connect.ts'
import { migrate } from '../../src/adapters/database/migrate.ts'
import {
  ensureDatabase,
  ensurePostgres,
  type PrivatePostgres,
  postgresUrl,
} from '../../src/adapters/database/private-postgres.ts'
import { withLock } from '../../src/launcher/lock.ts'
import type { Db } from '../../src/ports/tables.ts'

const template = 'comeback_template'

export type TestDatabase = {
  readonly url: string
  readonly pool: pg.Pool
  readonly db: Db
  /** Sends everybody away and drops it. Called by itself after the file's tests. */
  readonly drop: () => Promise<void>
}

let server: Promise<PrivatePostgres> | undefined

/** A database of this test file's own, with all migrations applied. Call it at the top level or in `beforeAll`. */
export async function makeDatabase(): Promise<TestDatabase> {
  const made = await cloneDatabase()
  afterAll(made.drop)
  return made
}

/** The same, dropped by the caller. */
export async function cloneDatabase(): Promise<TestDatabase> {
  server ??= startServer(inject('postgresFolder'))
  const p = await server
  const name = `t_${randomUUID().replaceAll('-', '')}`
  await asAdministrator(p, `create database ${name} template ${template}`)
  const url = postgresUrl(p, name)
  const pool = connect(url, { name: 'test' })
  const drop = async () => {
    if (!pool.ended) await pool.end()
    await asAdministrator(p, `drop database if exists ${name} with (force)`)
  }
  return { url, pool, db: database(pool), drop }
}

async function startServer(folder: string): Promise<PrivatePostgres> {
  const p: PrivatePostgres = {
    dataDir: join(folder, 'data'),
    socketDir: join(folder, 'run'),
    logFile: join(folder, 'postgres.log'),
    durability: 'throwaway',
  }
  await withLock(folder, async () => {
    await ensurePostgres(p)
    await migrate(await ensureDatabase(p, template))
  })
  return p
}

async function asAdministrator(p: PrivatePostgres, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: postgresUrl(p, 'postgres') })
  client.on('error', () => {})
  await client.connect()
  try {
    await client.query(sql)
  } finally {
    await client.end()
  }
}
