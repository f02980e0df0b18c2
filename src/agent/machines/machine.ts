/**
 * One machine: its record, and its process while there is one. Calls that change it run one after another (`serial`).
 *
 *   off -> starting -> running <-> paused -> ending -> off
 *
 * What a machine is follows from two things alone, so that a new agent sees the same: whether its process lives, and whether
 * it is wanted. Wanted and off: it has died, or the host was started again. A guest that powers off leaves its process
 * waiting (status `shutdown`); only then do we end it, and it is wanted no more.
 */
import type { Logger } from 'pino'
import { goneWithin, killProcess } from '../../adapters/storage/processes.ts'
import type { InstanceId, LayerId } from '../../domain/ids.ts'
import { refuse } from '../../domain/refusals.ts'
import type { MachineDisk, MachineView } from '../../ports/host-agent.ts'
import type { QmpOptions } from '../qmp/client.ts'
import { QmpClosed, QmpTimeout } from '../qmp/errors.ts'
import type { QmpEvent } from '../qmp/messages.ts'
import { Serial } from '../serial.ts'
import { headOf, PoolPaths } from './command-line.ts'
import type { MachinesEnvironment, OpenPool } from './environment.ts'
import type { LiveMachine } from './live.ts'
import type { MachineRecord } from './record.ts'

/** A process that has closed its monitor is about to go. */
const endingMs = 5_000
/** Below what whoever looks at all machines of a host waits for one of them. */
const viewMs = 5_000
/** QEMU flushes its disks before it ends; a disk that takes longer than this to flush is not waited for. */
const quitMs = 10_000
/** A killed process that does not go is stuck in the kernel, in a write to a dead disk: its locks are not free. */
const killMs = 30_000

export class Machine {
  readonly environment: MachinesEnvironment
  readonly instance: InstanceId
  readonly serial = new Serial()
  readonly log: Logger
  /** Of a former agent, and its process was neither met nor found to be gone: it may run. */
  isUnseen = false
  readonly #saves = new Serial()
  #record: MachineRecord
  #live: LiveMachine | null = null
  #heldBy: 'space' | 'io' | null = null
  /** The process whose guest was frozen and has not yet said that it is thawed. */
  thawing: LiveMachine | null = null

  constructor(environment: MachinesEnvironment, record: MachineRecord) {
    this.environment = environment
    this.instance = record.spec.instance
    this.#record = record
    this.log = environment.log.child({ instance: this.instance })
  }

  get record(): MachineRecord {
    return this.#record
  }

  get live(): LiveMachine | null {
    return this.#live
  }

  /** Why QEMU itself stopped the guest. */
  get heldBy(): 'space' | 'io' | null {
    return this.#heldBy
  }

  get stateDirectory(): string {
    return this.environment.records.directoryOf(this.instance)
  }

  get paths(): PoolPaths {
    return new PoolPaths(this.#record.pools)
  }

  /** The process, or the refusal that a caller gets who needs one. */
  requireLive(): LiveMachine {
    if (this.#live === null) throw refuse.hostFailure({ what: `machine ${this.instance} is not running` })
    return this.#live
  }

  requireDisk(device: string): MachineDisk {
    const disk = this.#record.spec.disks.find((one) => one.device === device)
    if (disk === undefined) throw refuse.notFound({ what: 'Disk', id: device })
    return disk
  }

  pool(disk: { readonly pool: MachineDisk['pool'] }): OpenPool {
    const pool = this.environment.pools.get(disk.pool)
    if (pool === undefined) throw refuse.notFound({ what: 'Pool', id: disk.pool })
    return pool
  }

  /** Durable before it returns. Changes that are asked for at once are written one upon the other. */
  save(change: Partial<MachineRecord>): Promise<void> {
    return this.#saves.run(async () => {
      const next = { ...this.#record, ...change }
      await this.environment.records.save(next)
      this.#record = next
    })
  }

  /** Writes what the chain of a device is now. */
  saveChain(device: string, chain: readonly LayerId[], change: Partial<MachineRecord> = {}): Promise<void> {
    const { spec } = this.#record
    const disks = spec.disks.map((disk) => (disk.device === device ? { ...disk, chain: [...chain] } : disk))
    return this.save({ ...change, spec: { ...spec, disks } })
  }

  /** Takes a process as the machine's own and listens to it. */
  follow(live: LiveMachine, heldBy: 'space' | 'io' | null = null): void {
    this.#live = live
    this.#heldBy = heldBy
    live.events.onEvent((event) => this.#hear(live, event))
    void live.gone.then(() => this.#react(() => this.#buried(live)))
  }

  /** Ends the process and waits until its locks are free. Whether it ended by itself, having written all it had to. */
  async end(live: LiveMachine): Promise<boolean> {
    live.control.execute('quit', {}, { deadlineMs: quitMs }).catch(() => undefined) // the process may go before it answers
    const isByItself = await goneWithin(live.mark, quitMs)
    if (!isByItself) await killProcess(live.mark)
    if (!(await goneWithin(live.mark, killMs))) {
      throw refuse.hostFailure({ what: `the process of machine ${this.instance} does not end; its disk may be out of reach` })
    }
    live.close()
    if (this.#live === live) this.#live = null
    this.#heldBy = null
    return isByItself
  }

  /** The agent goes; the machine stays. */
  abandon(): void {
    const live = this.#live
    this.#live = null
    live?.close()
  }

  /** The guest has powered off, and QEMU waits. */
  async endAfterGuest(live: LiveMachine): Promise<void> {
    if (this.#live !== live) return
    const { wanted } = this.#record
    await this.save({ wanted: false })
    const shutDown = await this.end(live)
    await this.save({ process: null, shutDown })
    if (wanted) this.environment.events.append({ type: 'shutdown', instance: this.instance })
    this.log.info('the guest shut its machine down')
  }

  async view(): Promise<MachineView> {
    const { instance, record } = this
    const { wanted, shutDown } = record
    const off = { instance, state: 'off', pausedBecause: null, heads: {}, startedAt: null, wanted, shutDown } as const
    const unknown = { ...off, state: 'unknown' } as const
    const live = this.#live
    if (live === null) return this.isUnseen ? unknown : off
    try {
      const [status, heads] = await Promise.all([live.status({ deadlineMs: viewMs }), this.heads(live, { deadlineMs: viewMs })])
      const running = status === 'running' && this.thawing !== live
      const because = this.#heldBy ?? (record.frozenBy === null ? 'other' : 'freeze')
      const { startedAt } = record
      return { ...off, state: running ? 'running' : 'paused', pausedBecause: running ? null : because, heads, startedAt }
    } catch (error) {
      if (error instanceof QmpTimeout) return unknown
      if (error instanceof QmpClosed && (await goneWithin(live.mark, endingMs))) return off
      throw error
    }
  }

  async heads(live: LiveMachine, options: QmpOptions = {}): Promise<Record<string, LayerId>> {
    const { disks } = this.#record.spec
    const found = await Promise.all(disks.map(async ({ device }) => [device, await live.headOf(device, options)] as const))
    return Object.fromEntries(found.flatMap(([device, head]) => (head === null ? [] : [[device, head]])))
  }

  /** Whether these are the disks it has, each with that head. */
  hasDisks(disks: readonly MachineDisk[]): boolean {
    const said = (of: readonly MachineDisk[]): string =>
      of
        .map((disk) => `${disk.device}=${headOf(disk)}`)
        .sort()
        .join()
    return said(disks) === said(this.#record.spec.disks)
  }

  #hear(live: LiveMachine, { event, data }: QmpEvent): void {
    if (this.#live !== live) return
    if (event === 'SHUTDOWN' && data['guest'] === true) this.#react(() => this.endAfterGuest(live))
    if (event === 'BLOCK_IO_ERROR' && data['action'] === 'stop') this.#held(data['nospace'] === true ? 'space' : 'io')
    if (event === 'RESUME') this.#resumed()
  }

  /** Does what a process's own doing calls for; nobody waits for it, so a failure is told here. */
  #react(work: () => Promise<void>): void {
    this.serial.run(work).catch((error: unknown) => this.log.error({ err: error }, 'what a machine did was not followed up'))
  }

  #held(because: 'space' | 'io'): void {
    if (this.#heldBy === because) return
    this.#heldBy = because
    this.environment.events.append({ type: 'paused', instance: this.instance, because })
    this.log.warn({ because }, 'a write failed; QEMU holds the guest')
  }

  #resumed(): void {
    if (this.#heldBy === null) return
    this.#heldBy = null
    this.environment.events.append({ type: 'resumed', instance: this.instance })
    this.log.info('the guest goes on')
  }

  /** The process ended and nobody asked it to. */
  async #buried(live: LiveMachine): Promise<void> {
    if (this.#live !== live) return
    this.#live = null
    this.#heldBy = null
    await this.save({ process: null, frozenBy: null, pausedBy: null })
    if (!this.#record.wanted) return
    this.environment.events.append({ type: 'died', instance: this.instance, because: 'process' })
    this.log.error('the process of a running machine has ended')
  }
}
