/** Starting and stopping: what is written before what, so that an agent killed in between leaves nothing unsaid. */

import { killProcess } from '../../adapters/storage/processes.ts'
import type { InstanceId } from '../../domain/ids.ts'
import { refuse } from '../../domain/refusals.ts'
import { failpoint } from '../../failpoints.ts'
import type { MachineSpec, StopMode, Stopped } from '../../ports/host-agent.ts'
import { askGuest } from '../qmp/guest-agent.ts'
import { agentPort, headOf, placeOf } from './command-line.ts'
import type { MachinesEnvironment } from './environment.ts'
import { LiveMachine } from './live.ts'
import type { Machine } from './machine.ts'
import { runDirectoryOf } from './names.ts'
import type { MachineRecord } from './record.ts'
import { spawnMachine, whyNotStarted } from './spawn.ts'

/** It takes 0.1 s; more than this only on a host that swaps, or where a disk does not answer. */
const startMs = 60_000
/** The guest's agent gets this long to take the order; ACPI's power button was pressed before. */
const orderMs = 2_000
/** A guest that boots hears nothing yet: it is asked again, at the latest after this. A guest that obeys passes it over. */
const askAgainMs = 10_000

export const freshRecord = (spec: MachineSpec): MachineRecord => ({
  format: 1,
  spec: structuredClone(spec) as MachineRecord['spec'],
  wanted: false,
  shutDown: false,
  process: null,
  startedAt: null,
  pools: [],
  frozenBy: null,
  pausedBy: null,
  pivoting: [],
  pivoted: null,
  merging: null,
  opened: [],
  stale: [],
})

/** Refuses what no machine can be made of, before anything is written. */
export function requireStartable(spec: MachineSpec, { pools }: MachinesEnvironment): void {
  const places = spec.disks.map(({ device }) => placeOf(device))
  if (new Set(places).size < places.length) throw refuse.malformed({ why: 'Two disks have the same place in the machine.' })
  for (const { pool } of [...spec.disks, ...(spec.directBoot ? [spec.directBoot] : [])])
    if (!pools.has(pool)) throw refuse.hostFailure({ what: `pool ${pool} is not on this host` })
}

/** Starts the machine, unless it runs already with the same heads. */
export async function startMachine(machine: Machine, spec: MachineSpec): Promise<void> {
  const { environment, record } = machine
  requireStartable(spec, environment)
  if (machine.live !== null) {
    if (!machine.hasDisks(spec.disks))
      throw refuse.hostFailure({ what: `machine ${spec.instance} runs with other disks; stop it first` })
    return record.wanted ? undefined : machine.save({ wanted: true })
  }
  for (const { layer, now } of record.stale) {
    if (spec.disks.some((disk) => headOf(disk) === layer))
      throw refuse.hostFailure({ what: `layer ${layer} was merged into ${now}, which has been written since` })
  }
  await failpoint('agent.start.before-record')
  const fresh = { ...freshRecord(spec), stale: record.stale, opened: record.opened }
  await machine.save({ ...fresh, wanted: true, pools: [...environment.pools.keys()] })
  await failpoint('agent.start.before-spawn')
  try {
    await launch(machine, spec)
  } catch (error) {
    await machine.save({ wanted: false, process: null })
    throw error
  }
  await failpoint('agent.start.after-record')
}

async function launch(machine: Machine, spec: MachineSpec): Promise<void> {
  const { environment } = machine
  const mark = await spawnMachine(environment, spec)
  await failpoint('agent.start.after-spawn')
  const startedAt = new Date().toISOString()
  const written = machine.save({ process: { ...mark, bootId: environment.bootId }, startedAt })
  try {
    const live = await LiveMachine.attach(mark, runDirectoryOf(environment.runDirectory, spec.instance), startMs)
    await written
    machine.follow(live)
    machine.log.info({ pid: mark.pid, accelerator: environment.accelerator }, 'machine started')
  } catch (error) {
    await written
    await killProcess(mark)
    const { said, refusal } = await whyNotStarted(machine.stateDirectory)
    machine.log.error({ err: error, said }, 'machine not started')
    throw refusal
  }
}

export async function stopMachine(machine: Machine, how: StopMode, signal: AbortSignal): Promise<Stopped> {
  await failpoint('agent.stop.before-record')
  if (machine.record.wanted && !how.staysWanted) await machine.save({ wanted: false })
  await failpoint('agent.stop.after-record')
  const { live } = machine
  if (live === null) return { how: 'off', clean: machine.record.shutDown }
  const obeyed = how.mode === 'graceful' && (await shutDown(machine, live, how.graceSeconds * 1000, signal))
  await failpoint('agent.stop.before-quit')
  const clean = (await machine.end(live)) && obeyed
  await failpoint('agent.stop.after-gone')
  if (clean) await machine.save({ shutDown: true })
  machine.log.info({ obeyed, clean }, 'machine stopped')
  return { how: obeyed ? 'graceful' : 'hard', clean }
}

/** Asks the guest to power off, by its power button and by its agent. True when it did within the time. */
async function shutDown(machine: Machine, live: LiveMachine, graceMs: number, signal: AbortSignal): Promise<boolean> {
  const off = live.events.nextEvent(({ event }) => event === 'SHUTDOWN', { deadlineMs: graceMs, signal })
  const outcome = off.then(
    () => true,
    () => false,
  )
  const status = await live.status()
  if (status === 'shutdown') return true
  if (status !== 'running') return false // a guest that is held cannot hear
  const over = new AbortController()
  const asking = askUntil(machine, live, AbortSignal.any([signal, over.signal])).catch((error: unknown) => {
    if (!over.signal.aborted && !live.control.isClosed) machine.log.warn({ err: error }, 'the guest could not be asked')
  })
  const obeyed = await outcome
  over.abort()
  await asking
  signal.throwIfAborted() // somebody newer took over: it is theirs to say what comes after the asking
  return obeyed
}

/** Asks now, whenever its agent comes up, and every so often. */
async function askUntil(machine: Machine, live: LiveMachine, over: AbortSignal): Promise<void> {
  while (!over.aborted && !live.control.isClosed) {
    const agentComes = live.events
      .nextEvent(({ event, data }) => event === 'VSERPORT_CHANGE' && data['id'] === agentPort && data['open'] === true, {
        deadlineMs: askAgainMs,
        signal: over,
      })
      .catch(() => null)
    await live.control.execute('system_powerdown')
    await failpoint('agent.stop.after-ask')
    if (await live.guestListens('qga')) {
      void askGuest(live.directory, { command: 'guest-shutdown', deadlineMs: orderMs, answers: false }).catch(
        (error: unknown) => machine.log.info({ err: error }, 'the guest agent did not take the order'),
      )
    }
    await agentComes
  }
}

/** The power goes off and on again. */
export async function resetMachine(machine: Machine): Promise<void> {
  const { live, record } = machine
  if (live === null) return
  await machine.end(live)
  await machine.save({
    process: null,
    pools: [...machine.environment.pools.keys()],
    frozenBy: null,
    pausedBy: null,
    shutDown: false,
  })
  await launch(machine, record.spec)
}

/** A machine that was never started here. */
export const unknownMachine = (instance: InstanceId) =>
  ({ instance, state: 'off', pausedBecause: null, heads: {}, startedAt: null, wanted: false, shutDown: false }) as const
