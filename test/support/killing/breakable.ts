/**
 * The whole product on this machine in a state of its own, whose processes a test may kill one by one, and in which points inside
 * agent and controller can be armed while they run.
 */
import { access, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type pg from 'pg'
import { connect } from '../../../src/adapters/database/connect.ts'
import { isGone, markOf } from '../../../src/adapters/storage/processes.ts'
import { findByUuid } from '../../../src/agent/machines/process.ts'
import { runDirectoryOf } from '../../../src/agent/protocol.ts'
import { agentConfig, controllerConfig } from '../../../src/config.ts'
import type { InstanceId } from '../../../src/domain/ids.ts'
import { bringUp } from '../../../src/launcher/up.ts'
import { Installation } from '../installation.ts'
import type { OpenStack } from '../openstack.ts'

export const victims = ['controller', 'agent', 'postgres', 'guest'] as const
export type Victim = (typeof victims)[number]

/** A loaded machine may take this long for what takes a second. */
export const patienceMs = 240_000

/** Looks until something is there; says what was waited for when it never is. */
export async function eventually<T>(
  what: string,
  look: () => Promise<T | null | undefined | false>,
  ms = patienceMs,
): Promise<T> {
  let last: unknown
  for (const end = Date.now() + ms; Date.now() < end; await pause(25)) {
    try {
      const found = await look()
      if (found !== null && found !== undefined && found !== false) return found
      last = undefined
    } catch (error) {
      last = error
    }
  }
  throw new Error(`${what}: not within ${ms / 1000} s`, { cause: last })
}

export class Breakable {
  readonly product: Installation
  readonly sql: pg.Pool
  readonly #points: string
  #client: OpenStack | null = null

  private constructor(product: Installation, points: string) {
    this.product = product
    this.#points = points
    this.sql = connect(product.databaseUrl, { max: 3 })
  }

  static async start(environment: Readonly<Record<string, string>> = {}): Promise<Breakable> {
    const points = await mkdtemp(join(tmpdir(), 'comeback-points-'))
    // Processes that are started again inherit it from this one.
    process.env['COMEBACK_FAILPOINTS_DIR'] = points
    return new Breakable(await Installation.start({ ...environment, COMEBACK_FAILPOINTS_DIR: points }), points)
  }

  get run(): string {
    return this.product.run
  }

  get pool(): string {
    return agentConfig(this.product.environment).pool.directory
  }

  get agentSocket(): string {
    return agentConfig(this.product.environment).socket
  }

  /** Starts what does not run, as a second `npm start` does. */
  async up(): Promise<void> {
    const env = this.product.environment
    await bringUp({ controller: controllerConfig(env), agent: agentConfig(env) })
  }

  client = async (): Promise<OpenStack> => (this.#client ??= await this.product.logIn())

  /** Asks the database, and waits for one that was killed. */
  async query<Row extends pg.QueryResultRow>(text: string, values: unknown[] = []): Promise<Row[]> {
    return await eventually('the database', async () => (await this.sql.query<Row>(text, values)).rows)
  }

  async pidOf(victim: Victim, instance: InstanceId): Promise<number | null> {
    if (victim === 'guest') return (await findByUuid(instance, runDirectoryOf(this.run, instance)))?.pid ?? null
    const [pid] = await this.product.pids(victim === 'postgres' ? 'database' : victim)
    return pid ?? null
  }

  async kill(victim: Victim, instance: InstanceId): Promise<void> {
    const pid = await this.pidOf(victim, instance)
    if (pid === null) return
    const mark = await markOf(pid)
    process.kill(pid, 'SIGKILL')
    await eventually(`the end of the ${victim}`, async () => mark === null || (await isGone(mark)))
  }

  arm = (point: string, what: string): Promise<void> => writeFile(join(this.#points, point), what)

  isReached = (point: string): Promise<boolean> => exists(join(this.#points, `${point}.reached`))

  /** Whatever waits at a point goes on. */
  async disarm(): Promise<void> {
    await rm(this.#points, { recursive: true, force: true })
    await mkdir(this.#points)
  }

  async end(): Promise<void> {
    await this.disarm()
    await this.sql.end()
    await this.product.end()
    await rm(this.#points, { recursive: true, force: true })
    delete process.env['COMEBACK_FAILPOINTS_DIR']
  }
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  )
