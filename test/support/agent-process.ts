/** A real agent as a process of its own, in directories of its own, that a test may kill and start again. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { HttpAgentClient } from '../../src/adapters/host-agent/client.ts'
import type { Fence } from '../../src/agent/protocol.ts'
import { asId, newId, type OperationId, type RequestId } from '../../src/domain/ids.ts'
import type { HostAgent, PoolFacts } from '../../src/ports/host-agent.ts'
import type { StorageDriver } from '../../src/ports/storage-driver.ts'

const readyMs = 90_000

export class AgentProcess {
  readonly directory: string
  readonly client: HttpAgentClient
  readonly environment: Record<string, string>
  #child: ChildProcess | undefined

  private constructor(directory: string, environment: Record<string, string>) {
    this.directory = directory
    this.environment = environment
    this.client = new HttpAgentClient('test', { over: 'unix', path: join(directory, 'run', 'agent.sock') })
  }

  static async start(environment: Record<string, string> = {}): Promise<AgentProcess> {
    const agent = new AgentProcess(await mkdtemp(join(tmpdir(), 'comeback-agent-')), environment)
    await agent.begin()
    return agent
  }

  get pid(): number {
    return this.#child?.pid ?? 0
  }

  get run(): string {
    return join(this.directory, 'run')
  }

  /** Starts the process, with failpoints armed if named; answers when the agent does. */
  async begin(failpoints = ''): Promise<void> {
    const env = {
      ...process.env,
      ...this.environment,
      COMEBACK_STATE: join(this.directory, 'state'),
      COMEBACK_RUN: this.run,
      COMEBACK_HOST_NAME: 'test',
      COMEBACK_FAILPOINTS: failpoints,
      NODE_COMPILE_CACHE: '.cache/node',
    }
    const child = spawn(process.execPath, ['src/agent/main.ts'], { env, stdio: ['ignore', 'pipe', 'pipe'] })
    const log = createWriteStream(join(this.directory, 'agent.log'), { flags: 'a' })
    child.stdout?.pipe(log)
    child.stderr?.pipe(log)
    this.#child = child
    const until = Date.now() + readyMs
    for (;;) {
      try {
        await this.client.host().hello()
        return
      } catch (error) {
        if (child.exitCode !== null || Date.now() > until)
          throw new Error(`the agent did not start:\n${await this.log()}`, { cause: error })
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    }
  }

  log = (): Promise<string> => readFile(join(this.directory, 'agent.log'), 'utf8').catch(() => '')

  async kill(signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): Promise<void> {
    const child = this.#child
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.kill(signal)
    await ended
  }

  /** Waits until a failpoint has killed it. */
  async died(): Promise<void> {
    const child = this.#child
    if (child && child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  }

  host(resource = 'instance:test', epoch = 1): HostAgent {
    return this.client.host({ fence: fenceOf(resource, epoch), requestId: asId<RequestId>('req-test') })
  }

  async storage(resource = 'instance:test', epoch = 1): Promise<StorageDriver> {
    const { id, abilities, kind } = await this.pool()
    return this.client.pool(id, abilities, kind, { fence: fenceOf(resource, epoch), requestId: asId<RequestId>('req-test') })
  }

  async pool(): Promise<PoolFacts> {
    const [pool] = (await this.client.host().hello()).pools
    if (pool === undefined) throw new Error('the agent has no pool')
    return pool
  }

  /** Ends its machines, itself, and all traces. */
  async end(): Promise<void> {
    if (this.#child?.exitCode !== null || this.#child.signalCode !== null) await this.begin().catch(() => undefined)
    const host = this.host('instance:end')
    for (const { instance } of await this.client
      .host()
      .machines()
      .catch(() => []))
      await host.stopMachine(instance, { mode: 'hard', graceSeconds: 0 }).catch(() => undefined)
    await this.kill('SIGTERM')
    this.client.close()
    if (process.env['KEEP'] === undefined) await rm(this.directory, { recursive: true, force: true })
  }
}

const operation = newId<OperationId>()
const fenceOf = (resource: string, epoch: number): Fence => ({ resource, epoch, operation })
