/** The tables that sagas change: kept, restored and compared, quickly. */
import { sql } from 'kysely'
import type { Db } from '../../../src/ports/tables.ts'

/** What an operation may change and must leave as it was, or as it should be. */
const compared = [
  'layers',
  'points',
  'images',
  'volumes',
  'volume_snapshots',
  'instances',
  'attachments',
  'ports',
  'projects',
  'vaults',
  'backups',
  'sweeps',
  'locks',
] as const

/** What tells how it came about. */
const history = ['operations', 'operation_steps', 'operation_events', 'audit_log'] as const

export type Row = Record<string, unknown>
/** Rows by their key. */
export type TablesState = Record<(typeof compared)[number], Map<string, Row>>

/** When something was so is not what is so. */
const moments: readonly string[] = [
  'created_at',
  'updated_at',
  'marked_at',
  'launched_at',
  'terminated_at',
  'attached_at',
  'deleted_at',
  'due_at',
  'verified_at',
]

export async function readTables(db: Db): Promise<TablesState> {
  const columns = compared.map(
    (table) => sql`(select coalesce(jsonb_agg(t), '[]') from ${sql.table(table)} t) as ${sql.ref(table)}`,
  )
  const { rows } = await sql<Record<string, Row[]>>`select ${sql.join(columns)}`.execute(db)
  const byKey = (table: string) => new Map((rows[0]?.[table] ?? []).map((row) => [keyOf(row), withoutMoments(row)]))
  return Object.fromEntries(compared.map((table) => [table, byKey(table)])) as TablesState
}

const keyOf = (row: Row): string =>
  String(
    row['id'] ?? (row['resource'] ? `${row['resource']} by ${row['operation_id']}` : `${row['vault_id']} ${row['volume_id']}`),
  )

const withoutMoments = (row: Row): Row => ({
  ...Object.fromEntries(Object.entries(row).filter(([column]) => !moments.includes(column))),
  deleted: Boolean(row['deleted_at']),
  // What failed in a story is said in other words than in the next.
  ...('fail_reason' in row ? { fail_reason: Boolean(row['fail_reason']) } : {}),
})

/** Remembers all of it under a name; the answer puts it back. */
export async function keepTables(db: Db, name: string): Promise<() => Promise<void>> {
  const tables = [...compared, ...history]
  const copies = tables.map((table) => `create table kept_${name}.${table} as table public.${table};`)
  await sql.raw(`drop schema if exists kept_${name} cascade; create schema kept_${name}; ${copies.join('\n')}`).execute(db)
  const restore = tables.map(
    (table) => `delete from ${table}; insert into ${table} overriding system value table kept_${name}.${table};`,
  )
  // Foreign keys are kept by the rows having been so before.
  const script = sql.raw(`set local session_replication_role = replica; ${restore.join('\n')}`)
  return async () => void (await db.transaction().execute((tx) => script.execute(tx)))
}
