/**
 * A host in memory, obeying the contract of `HostAgent`: machines that hold the layers they write, so that two of them can
 * never write one. `kill` ends a machine's process as SIGKILL would; `write` is what its guest writes.
 */
import type { MemoryDriver } from '../../src/adapters/storage/memory/driver.ts'
import type { InstanceId, LayerId, PoolId } from '../../src/domain/ids.ts'
import { refuse } from '../../src/domain/refusals.ts'
import type {
  HostAgent,
  HostHello,
  MachineDisk,
  MachineSpec,
  MachineView,
  PivotOutcome,
  PivotRequest,
  StopMode,
  Stopped,
} from '../../src/ports/host-agent.ts'
import type { Merge } from '../../src/ports/storage-driver.ts'

type OpenDisk = { spec: MachineDisk; head: LayerId; close: () => void }
type Machine = {
  spec: MachineSpec
  disks: Map<string, OpenDisk>
  paused: boolean
  alive: boolean
  wanted: boolean
  shutDown: boolean
}

export class MemoryHost implements HostAgent {
  readonly #pools: ReadonlyMap<PoolId, MemoryDriver>
  readonly #machines = new Map<InstanceId, Machine>()

  /** What guests do at once when their disks were pivoted: fill this block of each. */
  afterPivot: { readonly block: number; readonly byte: number } | null = null

  constructor(pools: readonly MemoryDriver[]) {
    this.#pools = new Map(pools.map((pool) => [pool.pool, pool]))
  }

  async hello(): Promise<HostHello> {
    const facts = { qemuVersion: '0', accelerator: 'tcg', bootId: 'memory', vcpus: 8, memoryMib: 8192 } as const
    const pools = [...this.#pools.values()].map(({ pool, abilities }) => ({
      id: pool,
      name: pool,
      kind: 'memory' as const,
      abilities,
    }))
    return { name: 'memory', facts, pools, highestEpoch: 0 }
  }

  async startMachine(spec: MachineSpec): Promise<void> {
    if (this.#machines.get(spec.instance)?.alive) return
    const disks = new Map<string, OpenDisk>()
    try {
      for (const disk of spec.disks) disks.set(disk.device, await this.#open(disk))
    } catch (error) {
      for (const { close } of disks.values()) close()
      throw error
    }
    this.#machines.set(spec.instance, { spec, disks, paused: false, alive: true, wanted: true, shutDown: false })
  }

  async stopMachine(instance: InstanceId, how: StopMode): Promise<Stopped> {
    const machine = this.#machines.get(instance)
    if (machine) machine.wanted = false
    if (!machine?.alive) return { how: 'off', clean: machine?.shutDown ?? false }
    this.#end(machine)
    machine.shutDown = how.mode === 'graceful'
    return { how: how.mode, clean: machine.shutDown }
  }

  async resetMachine(): Promise<void> {}

  async machine(instance: InstanceId): Promise<MachineView> {
    const machine = this.#machines.get(instance)
    const wanted = machine?.wanted ?? false
    const shutDown = machine?.shutDown ?? false
    if (!machine?.alive) return { instance, state: 'off', pausedBecause: null, heads: {}, startedAt: null, wanted, shutDown }
    const heads = Object.fromEntries([...machine.disks].map(([device, { head }]) => [device, head]))
    return {
      instance,
      state: machine.paused ? 'paused' : 'running',
      pausedBecause: machine.paused ? 'other' : null,
      heads,
      startedAt: null,
      wanted,
      shutDown,
    }
  }

  machines(): Promise<readonly MachineView[]> {
    return Promise.all([...this.#machines.keys()].map((instance) => this.machine(instance)))
  }

  async pauseMachine(instance: InstanceId): Promise<void> {
    this.#alive(instance).paused = true
  }

  async resumeMachine(instance: InstanceId): Promise<void> {
    const machine = this.#machines.get(instance)
    if (machine) machine.paused = false
  }

  async pivot({ instance, disks, consistency }: PivotRequest): Promise<PivotOutcome> {
    const machine = this.#machines.get(instance)
    if (!machine?.alive) return { result: 'gone', achieved: 'crash', why: 'The machine was gone.', stallMs: 0 }
    for (const { device, from, to } of disks) {
      const head = this.#disk(machine, device).head
      if (head !== from && head !== to) throw refuse.hostFailure({ what: `device ${device} writes neither of its layers` })
    }
    for (const { device, to } of disks) {
      const disk = this.#disk(machine, device)
      if (disk.head === to) continue
      this.#move(disk, to)
      if (this.afterPivot) this.write(instance, device, this.afterPivot.block, this.afterPivot.byte)
    }
    return { result: 'pivoted', achieved: consistency, why: null, stallMs: 0 }
  }

  async attachDisk(instance: InstanceId, disk: MachineDisk): Promise<void> {
    const machine = this.#alive(instance)
    if (!machine.disks.has(disk.device)) machine.disks.set(disk.device, await this.#open(disk))
  }

  async detachDisk(instance: InstanceId, device: string): Promise<void> {
    const machine = this.#machines.get(instance)
    machine?.disks.get(device)?.close()
    machine?.disks.delete(device)
  }

  async resizeDisk(instance: InstanceId, device: string, size: number): Promise<void> {
    const { spec, head, close } = this.#disk(this.#alive(instance), device)
    close()
    await this.#pool(spec.pool).grow(head, size)
    this.#disk(this.#alive(instance), device).close = this.#pool(spec.pool).openForWriting(head)
  }

  async mergeLive(instance: InstanceId, device: string, pool: PoolId, merge: Merge): Promise<void> {
    const disk = this.#disk(this.#alive(instance), device)
    disk.close()
    await this.#pool(pool).merge(merge)
    if (disk.head === merge.upper && merge.direction === 'push') disk.head = merge.lower
    disk.close = this.#pool(pool).openForWriting(disk.head)
  }

  async console(): Promise<string> {
    return ''
  }

  async forgetMachine(instance: InstanceId): Promise<void> {
    const machine = this.#machines.get(instance)
    if (machine) this.#end(machine)
    this.#machines.delete(instance)
  }

  /** The guest fills a block of a disk. */
  write(instance: InstanceId, device: string, block: number, byte: number): void {
    const { spec, head } = this.#disk(this.#alive(instance), device)
    this.#pool(spec.pool).write(head, block, byte)
  }

  /** What the guest reads. */
  read(instance: InstanceId, device: string): Record<number, number> {
    const { spec, head } = this.#disk(this.#alive(instance), device)
    return this.#pool(spec.pool).read(head)
  }

  /** The process is gone, unasked. */
  kill(instance: InstanceId): void {
    this.#end(this.#alive(instance))
  }

  /** Plain data, for comparing two moments. */
  state(): unknown {
    return [...this.#machines].map(([instance, { alive, paused, disks }]) => ({
      instance,
      alive,
      paused,
      heads: [...disks].map(([device, { head }]) => [device, head]),
    }))
  }

  /** The same machines over copies of the pools. */
  copy(pools: readonly MemoryDriver[]): MemoryHost {
    const copy = new MemoryHost(pools)
    copy.afterPivot = this.afterPivot
    for (const [instance, machine] of this.#machines) {
      const disks = [...machine.disks].map(([device, { spec, head }]): [string, OpenDisk] => [
        device,
        { spec, head, close: copy.#pool(spec.pool).openForWriting(head) },
      ])
      copy.#machines.set(instance, { ...machine, disks: new Map(disks) })
    }
    return copy
  }

  async #open(disk: MachineDisk): Promise<OpenDisk> {
    const head = disk.chain.at(-1)
    if (!head) throw refuse.hostFailure({ what: `disk ${disk.device} has no layers` })
    await this.#requireChain(disk)
    return { spec: disk, head, close: this.#pool(disk.pool).openForWriting(head) }
  }

  /** The layers that the rows name must be those that lie upon each other on the storage. */
  async #requireChain({ pool, chain }: MachineDisk): Promise<void> {
    const { layers } = await this.#pool(pool).survey()
    for (const [at, layer] of chain.entries()) {
      const found = layers.find((one) => one.layer === layer)
      if (!found) throw refuse.hostFailure({ what: `layer ${layer} is missing` })
      if (found.backing !== (chain[at - 1] ?? null)) throw refuse.hostFailure({ what: `layer ${layer} lies on another one` })
    }
  }

  #move(disk: OpenDisk, to: LayerId): void {
    disk.close()
    disk.close = this.#pool(disk.spec.pool).openForWriting(to)
    disk.head = to
  }

  #end(machine: Machine): void {
    for (const { close } of machine.disks.values()) close()
    machine.disks.clear()
    machine.alive = false
  }

  #alive(instance: InstanceId): Machine {
    const machine = this.#machines.get(instance)
    if (!machine?.alive) throw refuse.hostFailure({ what: `machine ${instance} is off` })
    return machine
  }

  #disk(machine: Machine, device: string): OpenDisk {
    const disk = machine.disks.get(device)
    if (!disk) throw refuse.hostFailure({ what: `machine ${machine.spec.instance} has no disk ${device}` })
    return disk
  }

  #pool(pool: PoolId): MemoryDriver {
    const found = this.#pools.get(pool)
    if (!found) throw refuse.hostFailure({ what: `pool ${pool} is not here` })
    return found
  }
}
