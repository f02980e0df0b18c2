/** The machines of this host: what the controller's calls come to. */
import type { Bytes, InstanceId, OperationId } from '../../domain/ids.ts'
import { refuse } from '../../domain/refusals.ts'
import type { MachineDisk, MachineSpec, MachineView, PivotOutcome, PivotRequest, StopMode } from '../../ports/host-agent.ts'
import { adoptMachine } from './adopt.ts'
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
  #timer: NodeJS.Timeout | undefined

  private constructor(environment: MachinesEnvironment) {
    this.#environment = environment
  }

  /** Finds all machines again that former agents left. */
  static async open(environment: MachinesEnvironment): Promise<Machines> {
    const machines = new Machines(environment)
    const adopt = async (machine: Machine): Promise<void> => {
      machines.#machines.set(machine.instance, machine)
      // What its process does meanwhile is heard afterwards.
      await machine.serial
        .run(() => adoptMachine(machine))
        .catch((error: unknown) => machine.log.error({ err: error }, 'machine not adopted'))
    }
    await Promise.all((await environment.records.all()).map((record) => adopt(new Machine(environment, record))))
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
    await machine.serial.run(() => startMachine(machine, spec))
  }

  async stop(instance: InstanceId, how: StopMode, signal: AbortSignal): Promise<{ how: 'off' | 'graceful' | 'hard' }> {
    const machine = this.#machines.get(instance)
    return machine ? machine.serial.run(() => stopMachine(machine, how, signal)) : { how: 'off' }
  }

  reset = (instance: InstanceId): Promise<void> => this.#with(instance, resetMachine)

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
      if (machine.live !== null) throw refuse.inUse({ what: 'Machine', id: instance, by: 'its process' })
      this.#machines.delete(instance)
    })
    await this.#environment.records.forget(instance)
  }

  async #with<T>(instance: InstanceId, work: (machine: Machine) => Promise<T>): Promise<T> {
    const machine = this.#known(instance)
    return machine.serial.run(() => work(machine))
  }

  #known(instance: InstanceId): Machine {
    const machine = this.#machines.get(instance)
    if (machine === undefined) throw refuse.notFound({ what: 'Machine', id: instance })
    return machine
  }

  async #look(): Promise<void> {
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
