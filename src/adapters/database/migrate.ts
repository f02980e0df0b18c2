/**
 * Brings a database to the newest of the numbered migrations, each in a transaction of its own, one process at a time.
 * An applied migration never changes: its text's hash is kept, and a database that is newer than the code is refused.
 */
import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import pg from 'pg'
import { refuse } from '../../domain/refusals.ts'

type Migration = { readonly name: string; readonly sql: string; readonly hash: string }

const ours = new URL('./migrations/', import.meta.url)
const lock = 0x636f6d65 // 'come'

export type Migrated = { readonly applied: readonly string[]; readonly at: string }

export async function migrate(url: string, folder: URL = ours): Promise<Migrated> {
  const known = await readMigrations(folder)
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000, application_name: 'comeback-migrate' })
  client.on('error', () => {})
  await client.connect()
  try {
    await client.query('select pg_advisory_lock($1)', [lock])
    await client.query(`create table if not exists migrations (
      name text primary key, hash text not null, applied_at timestamptz not null default now())`)
    const todo = await outstanding(client, known)
    for (const migration of todo) await apply(client, migration)
    return { applied: todo.map(({ name }) => name), at: known.at(-1)?.name ?? 'none' }
  } finally {
    await client.end()
  }
}

async function readMigrations(folder: URL): Promise<Migration[]> {
  const names = (await readdir(folder)).filter((name) => /^\d{4}\.sql$/.test(name)).sort()
  return await Promise.all(
    names.map(async (file) => {
      const sql = await readFile(new URL(file, folder), 'utf8')
      return { name: basename(file, '.sql'), sql, hash: createHash('sha256').update(sql).digest('hex') }
    }),
  )
}

async function outstanding(client: pg.Client, known: readonly Migration[]): Promise<readonly Migration[]> {
  const { rows } = await client.query<{ name: string; hash: string }>('select name, hash from migrations order by name')
  for (const [index, row] of rows.entries()) {
    const migration = known[index]
    if (!migration) throw refuse.databaseNewer({ has: rows.at(-1)?.name ?? row.name, knows: known.at(-1)?.name ?? 'none' })
    if (migration.name !== row.name || migration.hash !== row.hash) throw refuse.migrationChanged({ name: row.name })
  }
  return known.slice(rows.length)
}

async function apply(client: pg.Client, { name, sql, hash }: Migration): Promise<void> {
  await client.query('begin')
  try {
    await client.query(sql)
    await client.query('insert into migrations (name, hash) values ($1, $2)', [name, hash])
    await client.query('commit')
  } catch (error) {
    await client.query('rollback').catch(() => {})
    throw error
  }
}
