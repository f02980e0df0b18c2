import { Kysely, type PostgresCursor, PostgresDialect, type PostgresPool, type PostgresQueryResult } from 'kysely'
import pg from 'pg'
import type { Db, Tables } from '../../ports/tables.ts'
import { asUnavailable } from './failures.ts'

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
    keepAlive: true,
    // No statement of ours takes long; one that does waits for a lock or for a dead network.
    statement_timeout: 30_000,
    lock_timeout: 15_000,
    idle_in_transaction_session_timeout: 60_000,
    application_name: options.name ?? 'comeback',
    types,
  })
  // Without a listener the loss of a connection, idle or in use, would end the process. Queries on it reject by themselves.
  const onLost = options.onLost ?? (() => {})
  pool.on('error', onLost)
  pool.on('connect', (client) => client.on('error', () => {}))
  return pool
}

/** Asks one connection. */
export type Ask = (sql: string, parameters: readonly unknown[]) => Promise<pg.QueryResult>

/** The database being away is `databaseUnavailable`. */
const told =
  (ask: Ask): Ask =>
  (sql, parameters) =>
    ask(sql, parameters).catch(asUnavailable)

/** The typed view of the pool; `around` stands around the queries of each connection. Destroying it ends the pool. */
export const database = (pool: pg.Pool, around: (ask: Ask) => Ask = (same) => same): Db =>
  new Kysely<Tables>({ dialect: new PostgresDialect({ pool: guarded(pool, around) }) })

function guarded(pool: pg.Pool, around: (ask: Ask) => Ask): PostgresPool {
  return {
    options: pool.options,
    end: () => pool.end(),
    async connect() {
      const client = await pool.connect().catch(asUnavailable)
      const ask = around(told((sql, parameters) => client.query(sql, [...parameters])))
      function query<Row>(sql: string, parameters: readonly unknown[]): Promise<PostgresQueryResult<Row>>
      function query<Row>(cursor: PostgresCursor<Row>): PostgresCursor<Row>
      function query(sql: unknown, parameters: readonly unknown[] = []): unknown {
        return ask(String(sql), parameters)
      }
      return { query, release: (destroy) => client.release(destroy) }
    },
  }
}
