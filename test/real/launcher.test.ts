/** Starting and stopping as a user does, with stand-ins for agent and controller: places, processes, PostgreSQL, what is left behind. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, chown, mkdir, mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { connect, database } from '../../src/adapters/database/connect.ts'
import { ensureDatabase } from '../../src/adapters/database/private-postgres.ts'
import { logIn } from '../../src/app/identity/sessions.ts'
import { controllerConfig } from '../../src/config.ts'
import { healthOf } from '../../src/launcher/ports.ts'
import { freePort } from '../support/free-port.ts'

const script = new URL('../support/stand-ins/launch.ts', import.meta.url).pathname
const isRoot = process.getuid?.() === 0

type Outcome = { code: number; out: Record<string, unknown> & Partial<UpLine>; err: string }
type UpLine = {
  pids: { agent: number; controller: number }
  url: string
  parts: string[]
  clouds: string
  places: { run: string; stateInside: string }
  did: string[]
}

let folder: string
let port: number
const started: Environment[] = []
type Environment = Record<string, string>

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'comeback-launch-'))
  await chmod(folder, 0o755)
  port = await freePort(2)
})
afterEach(async () => {
  for (const env of started.splice(0)) await launch('down', env)
  await rm(folder, { recursive: true, force: true })
})

const settingsFor = (state: string, at: number): Environment => ({ COMEBACK_STATE: state, COMEBACK_LISTEN: `127.0.0.1:${at}` })

function launch(verb: 'up' | 'down' | 'need', env: Environment, who: { uid?: number; gid?: number } = {}): Promise<Outcome> {
  if (verb === 'up') started.push(env)
  const { PATH = '' } = process.env
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [script, verb],
      { env: { PATH, ...env }, cwd: '/', timeout: 120_000, ...who },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : Number(error.code ?? 1)
        resolve({ code, out: stdout.trim() ? JSON.parse(stdout) : {}, err: stderr })
      },
    )
  })
}

async function up(env: Environment): Promise<UpLine> {
  const { code, out, err } = await launch('up', env)
  if (code !== 0) throw new Error(err)
  return out as UpLine
}

test('starts everything, attaches the second time, and starts again only what died', async () => {
  const env = settingsFor(join(folder, 'state'), port)
  const first = await up(env)
  expect(first.parts).toEqual(['PostgreSQL: created', 'agent: started', 'controller: started'])
  const second = await up(env)
  expect(second.parts).toEqual(['PostgreSQL: attached', 'agent: attached', 'controller: attached'])
  expect(second.pids).toEqual(first.pids)
  process.kill(first.pids.controller, 'SIGKILL')
  const third = await up(env)
  expect(third.parts).toEqual(['PostgreSQL: attached', 'agent: attached', 'controller: started'])
  expect(third.pids.agent).toBe(first.pids.agent)
})

test('is up within 3 s on an initialised state', async () => {
  const env = settingsFor(join(folder, 'state'), port)
  await up(env)
  const took: number[] = []
  // The machine may be busy with other tests: a bare Node, which takes 0.04 s when it is not, says how busy.
  const idle = performance.now()
  await promisify(execFile)(process.execPath, ['-e', '0'])
  const limit = Math.max(3_000, 40 * (performance.now() - idle))
  for (let n = 0; n < 3 && Math.min(...took) > limit; n += 1) {
    await launch('down', env)
    const began = performance.now()
    await up(env)
    took.push(performance.now() - began)
  }
  expect(Math.min(...took)).toBeLessThan(limit)
})

test('is over only when the controller has met the agent', async () => {
  const env = settingsFor(join(folder, 'state'), port)
  const { url, pids } = await up({ ...env, STAND_IN_MEETS_AFTER_MS: '2000' })
  expect((await healthOf(url))?.agents).toEqual({ configured: 1, met: 1 })
  process.kill(pids.controller, 'SIGKILL')
  const again = await up({ ...env, STAND_IN_MEETS_AFTER_MS: '2000' })
  expect(again.parts).toEqual(['PostgreSQL: attached', 'agent: attached', 'controller: started'])
  expect((await healthOf(url))?.agents).toEqual({ configured: 1, met: 1 })
})

test('two starts at once make one of everything', async () => {
  const env = settingsFor(join(folder, 'state'), port)
  const [one, other] = await Promise.all([up(env), up(env)])
  expect(one.pids).toEqual(other.pids)
})

test('two states run side by side, and down stops only its own', async () => {
  const [here, there] = [settingsFor(join(folder, 'here'), port), settingsFor(join(folder, 'there'), port + 1)]
  await up(here)
  const other = await up(there)
  const { out } = await launch('down', here)
  expect(out.did).toEqual(['controller: stopped', 'agent: stopped', 'PostgreSQL: stopped'])
  expect((await up(there)).pids).toEqual(other.pids)
  expect((await fetch(other.url)).ok).toBe(true)
  expect((await launch('down', here)).out.did).toEqual([])
})

test('says who has the port, and starts nothing', async () => {
  const server = createServer().listen(port, '127.0.0.1')
  const { code, err } = await launch('up', settingsFor(join(folder, 'state'), port))
  server.close()
  expect(code).toBe(1)
  expect(err).toContain(`127.0.0.1:${port} is taken by `)
  expect(err).toContain(`(process ${process.pid})`)
})

test('waits for a killed process whose last thread still holds the port', async () => {
  const script = `
import ctypes, os, socket, threading, time
held = socket.create_server(('127.0.0.1', ${port}))
def last():
    print('held', flush=True)
    time.sleep(2)
    os._exit(0)
threading.Thread(target=last).start()
ctypes.CDLL(None).pthread_exit(None)
`
  const dying = spawn('python3', ['-c', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(dying.stdout, 'data')
  const { parts } = await up(settingsFor(join(folder, 'state'), port))
  expect(parts).toContain('controller: started')
})

test('a bad setting is one sentence', async () => {
  const { code, err } = await launch('up', { COMEBACK_STATE: folder, COMEBACK_LISTEN: 'nowhere' })
  expect(code).toBe(1)
  expect(err.trim()).toBe('The setting COMEBACK_LISTEN is not usable: must be host:port.')
})

test.runIf(isRoot)('where it may not install what is missing, it names it and prints the line to run', async () => {
  const { code, err } = await launch('need', {}, { uid: 65534, gid: 65534 })
  expect(code).toBe(1)
  expect(err).toContain('Missing: no-such-package (cannot be had).')
  expect(err).toContain('\n  sudo apt-get install -y --no-install-recommends no-such-package')
})

test('passwords are for the owner only, and stay what they are', async () => {
  const env = settingsFor(join(folder, 'state'), port)
  const { clouds } = await up(env)
  const before = await readFile(clouds, 'utf8')
  expect((await stat(clouds)).mode & 0o777).toBe(0o600)
  await up(env)
  expect(await readFile(clouds, 'utf8')).toBe(before)
})

test.runIf(isRoot)(
  'runs in a state of 150 characters under a directory that nobody else may pass, and leaves no mount behind',
  async () => {
    const closed = join(folder, 'closed')
    await mkdir(closed, { mode: 0o700 })
    const state = join(closed, 'x'.repeat(150 - closed.length - 1))
    const env = settingsFor(state, port)
    const first = await up(env)
    expect(state).toHaveLength(150)
    expect(first.places.stateInside).not.toBe(state)
    expect((await stat(join(state, 'postgres', 'PG_VERSION'))).isFile()).toBe(true)
    expect((await stat(closed)).mode & 0o777).toBe(0o700)
    expect((await up(env)).pids).toEqual(first.pids)
    expect((await launch('down', env)).out.did).toContain('PostgreSQL: stopped')
    expect(await readFile('/proc/mounts', 'utf8')).not.toContain(first.places.run)
    await expect(stat(first.places.run)).rejects.toThrow('ENOENT')
  },
)

test.runIf(isRoot)('runs for a user who is not root', async () => {
  const nobody = { uid: 65534, gid: 65534 }
  const state = join(folder, 'theirs')
  await mkdir(state)
  await chown(state, nobody.uid, nobody.gid)
  const env = settingsFor(state, port)
  const { code, err, out } = await launch('up', env, nobody)
  expect({ code, err }).toEqual({ code: 0, err: expect.any(String) })
  expect(out.parts).toContain('controller: started')
  expect((await stat(join(state, 'postgres'))).uid).toBe(nobody.uid)
  expect((await launch('down', env, nobody)).out.did).toContain('PostgreSQL: stopped')
})

test('a service that ends at once: its own words are said', async () => {
  const { code, err } = await launch('up', { ...settingsFor(join(folder, 'state'), port), COMEBACK_TOKEN_SECONDS: 'soon' })
  expect({ code, err: err.trim() }).toEqual({
    code: 1,
    err: 'The setting COMEBACK_TOKEN_SECONDS is not usable: must be a number of seconds.',
  })
  const policy = await launch('up', { ...settingsFor(join(folder, 'state'), port), COMEBACK_STAND_IN_SAYS: 'There is no tea.' })
  expect(policy.code).toBe(1)
  expect(policy.err).toContain('There is no tea.\nThe controller has ended; its log: ')
})

test('settings that a running service does not have yet are named', async () => {
  const env = settingsFor(join(folder, 'state'), port)
  await up(env)
  expect((await launch('up', env)).err).not.toContain('than is set now')
  const { code, err } = await launch('up', { ...env, COMEBACK_POLICY_FILE: '/rules.yaml' })
  expect(code).toBe(0)
  expect(err).toContain(
    'The controller runs with another COMEBACK_POLICY_FILE than is set now. To apply it: npm run down -- --leave-machines, then npm start.',
  )
  expect(err).not.toContain('The agent runs with another')
})

test.runIf(isRoot)('a runtime directory in a place that somebody else could take away is refused', async () => {
  const theirs = join(folder, 'theirs')
  await mkdir(theirs)
  await chown(theirs, 65534, 65534)
  const { code, err } = await launch('up', { ...settingsFor(join(folder, 'state'), port), COMEBACK_RUN: join(theirs, 'run') })
  expect(code).toBe(1)
  expect(err).toContain(`The runtime directory ${join(theirs, 'run')} belongs to somebody else.`)
})

test('who has lost the password of admin makes another', async () => {
  const env = settingsFor(join(folder, 'state'), port)
  const { clouds } = await up(env)
  const { PATH = '' } = process.env
  const script = new URL('../../src/launcher/password.ts', import.meta.url).pathname
  const options = { env: { PATH, ...env, COMEBACK_ADMIN_PASSWORD: 'another one' }, cwd: '/', timeout: 120_000 }
  const { stderr } = await promisify(execFile)(process.execPath, [script], options)
  expect(stderr).toContain('admin has a new password')
  expect(stderr).not.toContain('another one')
  expect(await readFile(join(env['COMEBACK_STATE'] ?? '', 'admin-password'), 'utf8')).toBe('another one\n')
  expect(await readFile(clouds, 'utf8')).toContain('password: another one')
  const postgres = controllerConfig(env).privatePostgres
  const pool = connect(await ensureDatabase(postgres, 'comeback'))
  try {
    const proof = { user: { name: 'admin' }, password: 'another one' }
    const { body } = await logIn(database(pool), { proof, scope: 'default' }, 60, ({ roles }) => ({ roles }))
    expect(body).toMatchObject({ roles: expect.arrayContaining(['admin']) })
  } finally {
    await pool.end()
  }
})
