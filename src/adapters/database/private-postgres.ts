/**
 * A PostgreSQL of our own: reached by a unix socket only, owned by an unprivileged user, outliving whoever started it.
 * `ensurePostgres` attaches to the one that runs or starts it; any number of processes may call it at once. The server itself
 * is started, never `pg_ctl`: its lock file then names the process that we can look at.
 */
import { execFile, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { chmod, chown, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import pg from 'pg'
import { refuse } from '../../domain/refusals.ts'
import { isConnectionFailure } from './failures.ts'
import { postgresBinaries, postgresUser, type RunsAs } from './postgres-binaries.ts'
import { assertSafe, type Durability, settings } from './postgres-settings.ts'
import { unlockDead } from './postmaster.ts'

export type PrivatePostgres = {
  readonly dataDir: string
  /** Holds the socket; short enough that its path fits the 107 bytes of a socket address. */
  readonly socketDir: string
  readonly logFile: string
  readonly durability?: Durability
}

const run = promisify(execFile)
const port = 5432
const environment = { PATH: process.env['PATH'], LC_ALL: 'C.UTF-8', TZ: 'UTC' } // no PG* variables leak in

/** How libpq and `pg` alike reach a database of it. */
export const postgresUrl = (p: Pick<PrivatePostgres, 'socketDir'>, database: string): string =>
  `postgresql://postgres@/${database}?host=${encodeURIComponent(p.socketDir)}&port=${port}`

export async function ensurePostgres(p: PrivatePostgres, withinMs = 60_000): Promise<'attached' | 'started' | 'created'> {
  const socket = join(p.socketDir, `.s.PGSQL.${port}`)
  if (Buffer.byteLength(socket) > 107) throw refuse.setup({ why: `The socket path ${socket} is longer than 107 bytes.` })
  const [bin, user] = await Promise.all([postgresBinaries(), postgresUser()])
  await ownFolder(p.socketDir, user)
  const created = await createIfAbsent(p, bin, user)
  if (await answers(p)) return 'attached'
  const how = await startUntilItAnswers(p, bin, user, Date.now() + withinMs)
  return created ? 'created' : how
}

/** Makes the database if it is not there, and says how to reach it. */
export async function ensureDatabase(p: PrivatePostgres, name: string): Promise<string> {
  const client = new pg.Client({ connectionString: postgresUrl(p, 'postgres'), connectionTimeoutMillis: 5_000 })
  client.on('error', () => {})
  await client.connect()
  try {
    const { rowCount } = await client.query('select from pg_database where datname = $1', [name])
    if (rowCount === 0) await client.query(`create database ${pg.escapeIdentifier(name)}`)
  } catch (error) {
    if (codeOf(error) !== '42P04' && codeOf(error) !== '23505') throw error // another maker was faster
  } finally {
    await client.end()
  }
  return postgresUrl(p, name)
}

async function ownFolder(path: string, { uid, gid }: RunsAs): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 })
  if (uid !== undefined && gid !== undefined) await chown(path, uid, gid)
  await chmod(path, 0o700)
}

/** Made aside and renamed, so that a killed initdb leaves nothing half made; of several at once, the first rename wins. */
async function createIfAbsent(p: PrivatePostgres, bin: string, user: RunsAs): Promise<boolean> {
  if (await stat(join(p.dataDir, 'PG_VERSION')).catch(() => null)) return false
  const beside = dirname(p.dataDir)
  const prefix = `${basename(p.dataDir)}.new-`
  await mkdir(beside, { recursive: true })
  for (const name of await readdir(beside)) {
    const maker = name.startsWith(prefix) ? name.slice(prefix.length).split('-')[0] : null
    if (maker && !(await stat(`/proc/${maker}`).catch(() => null)))
      await rm(join(beside, name), { recursive: true, force: true })
  }
  const fresh = join(beside, `${prefix}${process.pid}-${randomUUID()}`)
  await ownFolder(fresh, user)
  const options = ['-U', 'postgres', '-k', '-E', 'UTF8', '--locale=C.UTF-8', '--auth-local=trust', '--auth-host=reject']
  if (p.durability === 'throwaway') options.push('--no-sync')
  try {
    await run(join(bin, 'initdb'), ['-D', fresh, ...options], { ...user, env: environment, cwd: '/', timeout: 120_000 })
    await rename(fresh, p.dataDir)
  } catch (error) {
    await rm(fresh, { recursive: true, force: true })
    if (codeOf(error) === 'ENOTEMPTY' || codeOf(error) === 'EEXIST') return false
    throw refuse.setup({ why: `PostgreSQL could not create ${p.dataDir}: ${error instanceof Error ? error.message : error}` })
  }
  const folder = await open(beside)
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
  return true
}

const codeOf = (error: unknown): string =>
  typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : ''

async function answers(p: PrivatePostgres): Promise<boolean> {
  const client = new pg.Client({ connectionString: postgresUrl(p, 'postgres'), connectionTimeoutMillis: 5_000 })
  client.on('error', () => {})
  try {
    await client.connect()
    await assertSafe(client, p.durability ?? 'durable', p.dataDir)
    return true
  } catch (error) {
    if (isConnectionFailure(error)) return false // absent, dead, starting, stopping, or too busy to answer in time
    throw error
  } finally {
    await client.end().catch(() => {})
  }
}

/**
 * A server that finds another's lock file exits at once: another starter has won, or a killed postmaster is not reaped yet.
 * So it is started again until one answers.
 */
async function startUntilItAnswers(p: PrivatePostgres, bin: string, user: RunsAs, deadline: number) {
  let starts = 0
  let running = false
  let failure: Error | undefined
  while (Date.now() < deadline && !failure) {
    if (!running) {
      if (starts > 0) await sleep(Math.min(100 * starts, 500))
      if (starts > 0 && (await answers(p))) return 'attached'
      if (starts > 0) await unlockDead(p.dataDir, join(p.socketDir, `.s.PGSQL.${port}.lock`))
      starts += 1
      running = true
      const server = await spawnServer(p, bin, user)
      server.once('exit', () => {
        running = false
      })
      server.once('error', (error) => {
        failure = error
      })
    }
    if (await answers(p)) return starts === 1 ? 'started' : running ? 'started' : 'attached'
    await sleep(15)
  }
  const log = await readFile(p.logFile, 'utf8').catch(() => '')
  throw refuse.setup({
    why: `PostgreSQL did not start${failure ? `: ${failure.message}` : ''}. Its log ${p.logFile} ends:\n${log.slice(-2000)}`,
  })
}

async function spawnServer(p: PrivatePostgres, bin: string, user: RunsAs) {
  const log = await open(p.logFile, 'a', 0o640)
  try {
    const options = Object.entries(settings(p.socketDir, port, p.durability ?? 'durable')).flatMap(([name, value]) => [
      '-c',
      `${name}=${value}`,
    ])
    // A session of its own: Ctrl-C in our terminal would be its order to stop. A file, not a pipe: a pipe dies with us.
    const server = spawn(join(bin, 'postgres'), ['-D', p.dataDir, ...options], {
      ...user,
      env: environment,
      cwd: '/',
      detached: true,
      stdio: ['ignore', log.fd, log.fd],
    })
    server.unref()
    return server
  } finally {
    await log.close()
  }
}
