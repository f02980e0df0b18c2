import { spawn } from 'node:child_process'
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { postgresBinaries, postgresUser } from './postgres-binaries.ts'
import { settings } from './postgres-settings.ts'
import { postmasterOf, stopPostgres } from './postmaster.ts'
import { ensureDatabase, ensurePostgres, type PrivatePostgres, postgresUrl } from './private-postgres.ts'

let folder: string
let p: PrivatePostgres

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'comeback-pg-'))
  await chmod(folder, 0o711)
  p = { dataDir: join(folder, 'data'), socketDir: join(folder, 'run'), logFile: join(folder, 'log') }
})
afterEach(async () => {
  await stopPostgres(p.dataDir)
  await rm(folder, { recursive: true, force: true })
})

async function ask<Row>(sql: string, database = 'postgres'): Promise<Row[]> {
  const client = new pg.Client({ connectionString: postgresUrl(p, database) })
  client.on('error', () => {})
  await client.connect()
  try {
    return (await client.query(sql)).rows as Row[]
  } finally {
    await client.end().catch(() => {})
  }
}

test('is created, then attached to, and started again after it was stopped', async () => {
  expect(await ensurePostgres(p)).toBe('created')
  const first = await postmasterOf(p.dataDir)
  expect(await ensurePostgres(p)).toBe('attached')
  expect(await postmasterOf(p.dataDir)).toBe(first)
  expect(await stopPostgres(p.dataDir)).toBe(true)
  expect(await stopPostgres(p.dataDir)).toBe(false)
  expect(await ensurePostgres(p)).toBe('started')
})

test('several starters at once all reach the same server', async () => {
  const how = await Promise.all([1, 2, 3, 4].map(() => ensurePostgres(p)))
  expect(how).toContain('created')
  expect(await ask('select count(*)::int as n from pg_stat_activity where backend_type = $$checkpointer$$')).toEqual([{ n: 1 }])
  const urls = await Promise.all([1, 2, 3].map(() => ensureDatabase(p, 'comeback')))
  expect(new Set(urls).size).toBe(1)
  expect(await ask('select current_database() as name', 'comeback')).toEqual([{ name: 'comeback' }])
})

test('a postmaster that is dead and that nobody reaps is not taken for alive', async () => {
  await ensurePostgres(p)
  await stopPostgres(p.dataDir)
  const [bin, user] = await Promise.all([postgresBinaries(), postgresUser()])
  const how = Object.entries(settings(p.socketDir, 5432, 'durable')).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const args = ['-c', '"$0" "$@" & exec sleep 600', join(bin, 'postgres'), '-D', p.dataDir, ...how]
  const careless = spawn('sh', args, { ...user, cwd: '/', stdio: 'ignore' })
  try {
    await expect.poll(() => ensurePostgres(p)).toBe('attached')
    const dead = await postmasterOf(p.dataDir)
    process.kill(dead ?? 0, 'SIGKILL')
    expect(await ensurePostgres(p, 30_000)).toBe('started')
    expect(await readFile(`/proc/${dead}/stat`, 'utf8')).toMatch(/\) Z /)
    expect(await postmasterOf(p.dataDir)).not.toBe(dead)
  } finally {
    careless.kill('SIGKILL')
  }
})

test('comes back with what was committed after its postmaster was killed', async () => {
  await ensurePostgres(p)
  await ask('create table kept (n int); insert into kept values (42)')
  const pid = await postmasterOf(p.dataDir)
  process.kill(pid ?? 0, 'SIGKILL')
  const began = Date.now()
  await ensurePostgres(p)
  expect(Date.now() - began).toBeLessThan(60_000)
  expect(await ask('select n from kept')).toEqual([{ n: 42 }])
})

test('waits for a server that is too busy to answer', async () => {
  await ensurePostgres(p)
  const pid = (await postmasterOf(p.dataDir)) ?? 0
  process.kill(pid, 'SIGSTOP')
  setTimeout(() => process.kill(pid, 'SIGCONT'), 7_000)
  await ensurePostgres(p)
  expect(await postmasterOf(p.dataDir)).toBe(pid)
})

test('refuses to attach to a server that could lose what it acknowledged', async () => {
  await ensurePostgres({ ...p, durability: 'throwaway' })
  await expect(ensurePostgres(p)).rejects.toThrow(/fsync = 'off'|full_page_writes = 'off'/)
})

test('says in a sentence when the socket path cannot fit', async () => {
  await expect(ensurePostgres({ ...p, socketDir: join(folder, 'x'.repeat(100)) })).rejects.toThrow('longer than 107 bytes')
})

test('all its processes together stay below 60 MiB when idle', async () => {
  await ensurePostgres(p)
  const clients = await Promise.all(
    Array.from({ length: 5 }, async () => {
      const client = new pg.Client({ connectionString: postgresUrl(p, 'postgres') })
      await client.connect()
      await client.query('select count(*) from pg_class')
      return client
    }),
  )
  await sleep(200)
  const mib = await memoryOf((await postmasterOf(p.dataDir)) ?? 0)
  await Promise.all(clients.map((client) => client.end()))
  expect(mib).toBeGreaterThan(5)
  expect(mib).toBeLessThan(60)
})

/** Proportional set size of a process and its children, in MiB. */
async function memoryOf(pid: number): Promise<number> {
  const children = (await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).trim().split(' ')
  const rollups = await Promise.all(
    [String(pid), ...children].map((each) => readFile(`/proc/${each}/smaps_rollup`, 'utf8').catch(() => '')),
  )
  return rollups.reduce((sum, text) => sum + Number(/^Pss:\s+(\d+)/m.exec(text)?.[1] ?? 0), 0) / 1024
}
