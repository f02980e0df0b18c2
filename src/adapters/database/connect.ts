import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import type { Db, Tables } from '../../ports/tables.ts'

const int8 = 20

function safeInteger(text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value)) throw new RangeError(`bigint ${text} does not fit a number`)
  return value
}

/** bigint columns come as numbers here; every other type as `pg` reads it. */
const types = {
  getTypeParser: (oid: number, format?: 'text' | 'binary') =>
    oid === int8 && format !== 'binary' ? safeInteger : pg.types.getTypeParser(oid, format),
}

export type ConnectOptions = { readonly max?: number; readonly name?: string; readonly onLost?: (error: Error) => void }

/** A pool of connections. It does no work until used, and outlives a restart of the database. */
export function connect(url: string, options: ConnectOptions = {}): pg.Pool {
  const pool = new pg.Pool({
    connectionString: url,
    max: options.max ?? 10,
    connectionTimeoutMillis: 5_000,
    idleTimeoutMillis: 30_000,
    application_name: options.name ?? 'comeback',
    types,
  })
  // Without a listener the loss of an idle connection would end the process.
  pool.on('error', options.onLost ?? (() => {}))
  return pool
}

/** The typed view of the pool. Destroying it ends the pool. */
export const database = (pool: pg.Pool): Db => new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) })
