import pg from 'pg'
import { refuse } from '../../domain/refusals.ts'

export type Durability = 'durable' | 'throwaway'

const safe: Readonly<Record<Durability, Readonly<Record<string, string>>>> = {
  durable: { fsync: 'on', full_page_writes: 'on', synchronous_commit: 'on' },
  throwaway: { fsync: 'off', full_page_writes: 'off', synchronous_commit: 'off' },
}

/** What the private server is started with. Small on purpose: all its processes together stay under 60 MiB when idle. */
export const settings = (socketDir: string, port: number, durability: Durability): Readonly<Record<string, string>> => ({
  ...safe[durability],
  unix_socket_directories: socketDir,
  unix_socket_permissions: '0700',
  listen_addresses: '',
  port: String(port),
  timezone: 'UTC',
  log_timezone: 'UTC',
  max_connections: durability === 'durable' ? '60' : '200',
  // The working set is a few MiB; the kernel's page cache holds the rest.
  shared_buffers: '16MB',
  work_mem: '2MB',
  maintenance_work_mem: '16MB',
  max_wal_size: '256MB',
  jit: 'off',
  huge_pages: 'off',
  max_parallel_workers_per_gather: '0',
  max_parallel_maintenance_workers: '0',
  max_worker_processes: '2',
  max_logical_replication_workers: '0',
  max_wal_senders: '0',
  wal_level: 'minimal',
  autovacuum_max_workers: '1',
  idle_in_transaction_session_timeout: '60s',
  log_checkpoints: 'off',
})

/** Refuses a server that could lose what it acknowledged. `dataDir`: the answering server must also be this one. */
export async function assertSafe(client: pg.Client, durability: Durability, dataDir?: string): Promise<void> {
  const needs: Record<string, string> = { ...safe[durability], server_encoding: 'UTF8' }
  if (dataDir !== undefined) {
    Object.assign(needs, { data_directory: dataDir, data_checksums: 'on', listen_addresses: '', TimeZone: 'UTC' })
  }
  const names = Object.keys(needs)
  const { rows } = await client.query<{ name: string; is: string }>(
    'select name, current_setting(name) as is from unnest($1::text[]) as name',
    [names],
  )
  for (const { name, is } of rows) {
    const want = needs[name] ?? ''
    const waitsForMore = name === 'synchronous_commit' && want === 'on' && is !== 'off'
    if (is !== want && !waitsForMore) throw refuse.databaseUnsafe({ setting: name, is, needs: want })
  }
}

/** The same for a server that somebody else runs. */
export async function assertSafeUrl(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000, application_name: 'comeback' })
  client.on('error', () => {})
  try {
    await client.connect()
  } catch (error) {
    throw refuse.setup({
      why: `The database of COMEBACK_DATABASE_URL cannot be reached: ${error instanceof Error ? error.message : error}.`,
    })
  }
  try {
    await assertSafe(client, 'durable')
  } finally {
    await client.end()
  }
}
