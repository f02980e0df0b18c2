/**
 * What a new agent does with each machine that a former one left: finds its process, takes back what was only meant to last a
 * moment (a freeze, a pause, a merge, overlays that nobody wrote), and says which machines have died meanwhile. A process that
 * lives and does not answer may be writing: until it answers or is gone, nothing is said and nothing is done about its machine.
 */
import { z } from 'zod'
import { goneWithin, killProcess, type ProcessMark } from '../../adapters/storage/processes.ts'
import { refuse } from '../../domain/refusals.ts'
import { BlockJob } from './block-job.ts'
import { learnHeads, learnMerge } from './learn.ts'
import { LiveMachine } from './live.ts'
import type { Machine } from './machine.ts'
import { settleMerge } from './merged.ts'
import { runDirectoryOf } from './names.ts'
import { closeOpened } from './opened.ts'
import { resumeMachine } from './pause.ts'
import { findByUuid } from './process.ts'
import { thawForSure } from './thaw.ts'

const adoptMs = 10_000
/** A killed process that does not go is stuck in the kernel, in a write to a dead disk. */
const killMs = 30_000
const jobs = z.array(z.object({ id: z.string() }))
const blockDevices = z.array(z.object({ 'io-status': z.string().optional() }))

export async function adoptMachine(machine: Machine): Promise<void> {
  const { environment, record, instance } = machine
  const directory = runDirectoryOf(environment.runDirectory, instance)
  const found = await findByUuid(instance, directory)
  if (found === null) return await bury(machine)
  if (found.cutOff) {
    machine.log.error({ pid: found.pid }, 'the sockets of a machine were taken away; it is ended')
    await endProcess(machine, found)
    return await bury(machine)
  }
  const mark = { pid: found.pid, start: found.start }
  const live = await LiveMachine.attach(mark, directory, adoptMs)
  const status = await live.status()
  machine.follow(live, status === 'io-error' ? await whyHeld(live) : null)
  await machine.save({ process: { ...mark, bootId: environment.bootId } })
  // First of all: whatever else cannot be settled, the guest must not stay frozen meanwhile.
  if (record.frozenBy !== null) thawForSure(machine, live)
  await endJobs(live)
  await learnMerge(machine, live)
  await learnHeads(machine, live)
  await dropStrays(machine, live)
  const isSettled = await endMerge(machine)
  if (record.pausedBy !== null && isSettled) await resumeMachine(machine)
  machine.isUnseen = false
  if (status === 'shutdown') await machine.endAfterGuest(live)
  machine.log.info({ pid: mark.pid, status, frozenBy: record.frozenBy, pausedBy: record.pausedBy }, 'machine adopted')
}

/** Before anything is done with a machine of a former agent: its process is found and answers, or there is none. */
export async function requireSeen(machine: Machine): Promise<void> {
  if (!machine.isUnseen) return
  try {
    await adoptMachine(machine)
  } catch (error) {
    machine.abandon()
    machine.log.warn({ err: error }, 'machine not adopted')
    throw refuse.hostFailure({ what: `the QEMU process of machine ${machine.instance} lives and does not answer` })
  }
}

/** The same for whoever wants it off: one that does not answer is killed, which is what a hard stop means. */
export async function endUnseen(machine: Machine): Promise<void> {
  if (!machine.isUnseen) return
  await adoptMachine(machine).catch(async (error: unknown) => {
    machine.abandon()
    machine.log.warn({ err: error }, 'a machine that does not answer is ended')
    const { instance, environment } = machine
    const found = await findByUuid(instance, runDirectoryOf(environment.runDirectory, instance))
    if (found !== null) await endProcess(machine, found)
    await bury(machine)
  })
}

async function endProcess(machine: Machine, mark: ProcessMark): Promise<void> {
  await killProcess(mark)
  if (!(await goneWithin(mark, killMs)))
    throw refuse.hostFailure({ what: `the process of machine ${machine.instance} does not end; its disk may be out of reach` })
}

/** No process: what was merely intended is over, and if it is wanted it has died. Said again at every start until somebody acts. */
async function bury(machine: Machine): Promise<void> {
  const { environment, record, instance } = machine
  await endMerge(machine)
  const hostReboot = record.process !== null && record.process.bootId !== environment.bootId
  await machine.save({ process: null, frozenBy: null, pausedBy: null, pivoting: [] })
  machine.isUnseen = false
  if (!machine.record.wanted) return
  environment.events.append({ type: 'died', instance, because: hostReboot ? 'hostReboot' : 'process' })
  machine.log.error({ hostReboot }, 'a machine that should be running has no process')
}

async function whyHeld(live: LiveMachine): Promise<'space' | 'io'> {
  const devices = await live.control.query('query-block', blockDevices)
  return devices.some((device) => device['io-status'] === 'nospace') ? 'space' : 'io'
}

/** A merge's job waits for an agent that is gone: it is cancelled, which harms nothing. */
async function endJobs(live: LiveMachine): Promise<void> {
  for (const { id } of await live.control.query('query-jobs', jobs)) await BlockJob.take(live, id)
}

/** The storage hears of a merge that happened before anything goes on. Whether it could: otherwise whoever merges again ends it. */
async function endMerge(machine: Machine): Promise<boolean> {
  const isSettled = await settleMerge(machine).then(
    () => true,
    (err: unknown) => {
      machine.log.error({ err }, 'a merge could not be ended on the storage')
      return false
    },
  )
  await closeOpened(machine)
  return isSettled
}

/** Nodes of layers that no disk stands on: overlays of a pivot that did not happen, disks that were never attached. */
async function dropStrays(machine: Machine, live: LiveMachine): Promise<void> {
  const used = new Set(machine.record.spec.disks.flatMap(({ chain }) => chain))
  await live.dropNodes((await live.layers()).filter((layer) => !used.has(layer)))
}
