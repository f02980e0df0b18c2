/**
 * A whole product of the test's own, as `npm start` makes it: PostgreSQL, agent and controller as processes, real guests. It may
 * be killed in parts and started again; nothing of it is left at the end.
 */
import { execFile } from 'node:child_process'
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { postmasterOf, stopPostgres } from '../../src/adapters/database/postmaster.ts'
import { controllerConfig } from '../../src/config.ts'
import type { InstanceId } from '../../src/domain/ids.ts'
import { logIn as launcherLogIn } from '../../src/launcher/client.ts'
import type { Access } from '../../src/launcher/credentials.ts'
import { guestShell, type Shell } from '../../src/launcher/guest/shell.ts'
import { findQemu, findService, stopProcess } from '../../src/launcher/processes.ts'
import { ensureDemoImage, ensureFlavors } from '../../src/launcher/seed.ts'
import { demoGuest } from './bare-guest.ts'
import { freePort } from './free-port.ts'
import { OpenStack } from './openstack.ts'

const launcher = new URL('./launch.ts', import.meta.url).pathname

/** Guests take long to boot on a machine that runs other tests too. */
const startMs = 300_000

export type Part = 'controller' | 'agent' | 'database' | 'machines'
type Environment = Readonly<Record<string, string>>
type Up = Access & {
  readonly databaseUrl: string
  readonly parts: readonly string[]
  readonly places: { readonly run: string }
}

export class Installation {
  readonly state: string
  readonly #environment: Environment
  #up: Up | undefined

  private constructor(state: string, environment: Environment) {
    this.state = state
    this.#environment = environment
  }

  static async start(environment: Environment = {}): Promise<Installation> {
    const folder = await mkdtemp(join(tmpdir(), 'comeback-whole-'))
    await chmod(folder, 0o755) // QEMU and PostgreSQL run as other users
    const address = `127.0.0.1:${await freePort()}`
    const made = new Installation(folder, {
      COMEBACK_STATE: folder,
      COMEBACK_LISTEN: address,
      COMEBACK_HOST_NAME: 'box',
      ...environment,
    })
    try {
      await made.up()
    } catch (error) {
      await made.end()
      throw error
    }
    return made
  }

  get run(): string {
    return controllerConfig({ ...this.#environment }).run
  }
  get url(): string {
    return this.#known.url
  }
  /** Of the first user. */
  get password(): string {
    return this.#known.password
  }
  get databaseUrl(): string {
    return this.#known.databaseUrl
  }
  get #known(): Up {
    if (this.#up === undefined) throw new Error('it was not started')
    return this.#up
  }
  get environment(): Environment {
    return this.#environment
  }

  /** Starts whatever does not run; settings given here are those of what is started now. */
  async up(environment: Environment = {}): Promise<readonly string[]> {
    this.#up = JSON.parse(await this.#launch('up', environment)) as Up
    return this.#up.parts
  }

  /** As `npm run down`: guests are shut down first. */
  async down(...more: readonly 'leave-machines'[]): Promise<readonly string[]> {
    return (JSON.parse(await this.#launch('down', {}, more)) as { did: string[] }).did
  }

  async pids(part: Part): Promise<readonly number[]> {
    if (part === 'machines') return (await findQemu(this.run)).filter(isMachine).map(({ pid }) => pid)
    if (part === 'database') return [await postmasterOf(join(this.state, 'postgres'))].filter((pid) => pid !== null)
    return [await findService(part, this.run)].flatMap((found) => found?.pid ?? [])
  }

  /** SIGKILL. A killed postmaster's children end by themselves, which is waited for as the next start does. */
  async kill(...parts: readonly Part[]): Promise<void> {
    for (const part of parts) for (const pid of await this.pids(part)) process.kill(pid, 'SIGKILL')
  }

  logIn = (user = 'admin', password = this.#known.password, project = 'admin'): Promise<OpenStack> =>
    OpenStack.logIn(this.url, user, password, project)

  /** The demo guest's images and flavors, as `npm start` registers them. */
  async guestImage(): Promise<{ image: string; flavor: string }> {
    const client = await launcherLogIn(this.#known)
    return { image: await ensureDemoImage(client, await demoGuest()), flavor: await ensureFlavors(client) }
  }

  /** An image of a disk's content. */
  async uploadImage(name: string, file: string, format: 'raw' | 'qcow2'): Promise<string> {
    const client = await launcherLogIn(this.#known)
    const body = { name, disk_format: format, container_format: 'bare' }
    const { id } = (await client.post('/image/v2/images', { body })) as { id: string }
    await client.upload(`/image/v2/images/${id}/file`, file)
    return id
  }

  shell = (instance: string): Shell => guestShell(this.run, instance as InstanceId)

  /** All that the guest has said on its console and is still kept, over restarts. */
  async console(instance: string): Promise<string> {
    const read = (name: string) =>
      readFile(join(this.state, 'agent/machines', instance, 'console', name), 'utf8').catch(() => '')
    return (await Promise.all(['before', 'now'].map(read))).join('')
  }

  log = (part: 'controller' | 'agent'): Promise<string> =>
    readFile(join(this.state, 'log', `${part}.log`), 'utf8').catch(() => '')

  /** Ends everything of it at once, and takes its directories away; with KEEP set they stay. */
  async end(): Promise<void> {
    for (const service of ['controller', 'agent'] as const) {
      const running = await findService(service, this.run)
      if (running) await stopProcess(running, 0)
    }
    await Promise.all((await findQemu(this.run)).map((each) => stopProcess(each, 0)))
    await stopPostgres(join(this.state, 'postgres'))
    if (process.env['KEEP'] !== undefined) return
    await rm(this.run, { recursive: true, force: true })
    await rm(this.state, { recursive: true, force: true })
  }

  async #launch(verb: 'up' | 'down', environment: Environment, more: readonly string[] = []): Promise<string> {
    const { PATH = '', HOME = '/' } = process.env
    const env = { PATH, HOME, ...this.#environment, ...environment }
    const { stdout } = await promisify(execFile)(process.execPath, [launcher, verb, ...more], {
      env,
      cwd: '/',
      timeout: startMs,
    })
    return stdout
  }
}

const isMachine = ({ argv }: { readonly argv: readonly string[] }): boolean => /qemu-system/.test(argv[0] ?? '')
