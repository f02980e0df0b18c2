/** The machines of this host: what the controller's calls come to. */
import type { Bytes, InstanceId, OperationId } from '../../domain/ids.ts'
import { refuse } from '../../domain/refusals.ts'
import type {
  MachineDisk,
  MachineSpec,
  MachineView,
  PivotOutcome,
  PivotRequest,
  StopMode,
  Stopped,
} from '../../ports/host-agent.ts'
import { endUnseen, requireSeen } from './adopt.ts'
import { readConsole, rotateConsole } from './console.ts'
import type { MachinesEnvironment } from './environment.ts'
import { attachDisk, detachDisk, resizeDisk } from './hotplug.ts'
import { Machine } from './machine.ts'
import { type MergeCall, mergeLive } from './merge-live.ts'
import { pauseMachine, resumeMachine } from './pause.ts'
import { pivot } from './pivot.ts'
import { freshRecord, requireStartable, resetMachine, startMachine, stopMachine, unknownMachine } from './power.ts'
import { resumeIfRoom } from './space.ts'

/** How soon a guest goes on after room was made, and how far a chatty one can get beyond what its console may keep. */
const lookMs = 1_000

export class Machines {
  readonly #environment: MachinesEnvironment
  readonly #machines = new Map<InstanceId, Machine>()
  readonly #meeting = new Set<Machine>()
  #timer: NodeJS.Timeout | undefined

  private constructor(environment: MachinesEnvironment) {
    this.#environment = environment
  }

  /** Finds all machines again that former agents left. */
  static async open(environment: MachinesEnvironment): Promise<Machines> {
    const machines = new Machines(environment)
    for (const record of await environment.records.all()) {
      const machine = new Machine(environment, record)
      machine.isUnseen = true
      machines.#machines.set(machine.instance, machine)
    }
    await Promise.all([...machines.#machines.values()].map((machine) => machines.#meet(machine)))
    machines.#timer = setInterval(() => void machines.#look(), lookMs)
    return machines
  }

  /** Leaves all machines running. */
  close(): void {
    clearInterval(this.#timer)
    for (const machine of this.#machines.values()) machine.abandon()
  }

  async start(spec: MachineSpec): Promise<void> {
    requireStartable(spec, this.#environment)
    const known = this.#machines.get(spec.instance)
    const machine = known ?? new Machine(this.#environment, freshRecord(spec))
    this.#machines.set(spec.instance, machine)
    await machine.serial.run(async () => {
      await requireSeen(machine)
      await startMachine(machine, spec)
    })
  }

  async stop(instance: InstanceId, how: StopMode, signal: AbortSignal): Promise<Stopped> {
    const machine = this.#machines.get(instance)
    if (machine === undefined) return { how: 'off', clean: false }
    return await machine.serial.run(async () => {
      await endUnseen(machine)
      return await stopMachine(machine, how, signal)
    })
  }

  async reset(instance: InstanceId): Promise<void> {
    const machine = this.#known(instance)
    await machine.serial.run(async () => {
      await endUnseen(machine)
      await resetMachine(machine)
    })
  }

  async view(instance: InstanceId): Promise<MachineView> {
    return (await this.#machines.get(instance)?.view()) ?? unknownMachine(instance)
  }

  views = (): Promise<MachineView[]> => Promise.all([...this.#machines.values()].map((machine) => machine.view()))

  pause = (instance: InstanceId, operation: OperationId): Promise<void> =>
    this.#with(instance, (machine) => pauseMachine(machine, operation))

  resume = (instance: InstanceId): Promise<void> => this.#with(instance, resumeMachine)

  pivot = (request: PivotRequest, operation: OperationId): Promise<PivotOutcome> =>
    this.#with(request.instance, (machine) => pivot(machine, request, operation))

  attach = (instance: InstanceId, disk: MachineDisk): Promise<void> =>
    this.#with(instance, (machine) => attachDisk(machine, disk))

  detach = (instance: InstanceId, device: string): Promise<void> =>
    this.#with(instance, (machine) => detachDisk(machine, device))

  resize = (instance: InstanceId, device: string, size: Bytes): Promise<void> =>
    this.#with(instance, (machine) => resizeDisk(machine, device, size))

  merge = (instance: InstanceId, call: MergeCall): Promise<void> => mergeLive(this.#known(instance), call)

  console = (instance: InstanceId, lines: number | null): Promise<string> =>
    readConsole(this.#environment.records.directoryOf(instance), lines)

  async forget(instance: InstanceId): Promise<void> {
    const machine = this.#machines.get(instance)
    await machine?.serial.run(async () => {
      await requireSeen(machine)
      if (machine.live !== null) throw refuse.inUse({ what: 'Machine', id: instance, by: 'its process' })
      this.#machines.delete(instance)
    })
    await this.#environment.records.forget(instance)
  }

  async #with<T>(instance: InstanceId, work: (machine: Machine) => Promise<T>): Promise<T> {
    const machine = this.#known(instance)
    return machine.serial.run(async () => {
      await requireSeen(machine)
      return await work(machine)
    })
  }

  /** What its process does meanwhile is heard afterwards. A failure is told there, and tried again. */
  #meet = (machine: Machine): Promise<void> => machine.serial.run(() => requireSeen(machine)).catch(() => undefined)

  #known(instance: InstanceId): Machine {
    const machine = this.#machines.get(instance)
    if (machine === undefined) throw refuse.notFound({ what: 'Machine', id: instance })
    return machine
  }

  async #look(): Promise<void> {
    for (const machine of this.#machines.values()) {
      if (!machine.isUnseen || this.#meeting.has(machine)) continue
      this.#meeting.add(machine)
      void this.#meet(machine).then(() => this.#meeting.delete(machine))
    }
    const all = [...this.#machines.values()].filter(({ live }) => live !== null)
    await Promise.all(
      all.map(async (machine) => {
        const { live } = machine
        if (live === null) return
        try {
          await rotateConsole(machine.stateDirectory, live, this.#environment.user)
          await resumeIfRoom(machine)
        } catch (error) {
          if (machine.live === live) machine.log.warn({ err: error }, 'looking after a machine failed')
        }
      }),
    )
  }
}
