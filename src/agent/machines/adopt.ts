/**
 * What a new agent does with each machine that a former one left: finds its process, takes back what was only meant to last a
 * moment (a freeze, a pause, a merge, overlays that nobody wrote), and says which machines have died meanwhile.
 */
import { z } from 'zod'
import { BlockJob } from './block-job.ts'
import { thawForSure } from './freeze.ts'
import { LiveMachine } from './live.ts'
import type { Machine } from './machine.ts'
import { goneAfter, settleMerge } from './merged.ts'
import { runDirectoryOf } from './names.ts'
import { closeOpened } from './opened.ts'
import { findByUuid } from './process.ts'

const adoptMs = 10_000
const jobs = z.array(z.object({ id: z.string() }))
const blockDevices = z.array(z.object({ 'io-status': z.string().optional() }))

export async function adoptMachine(machine: Machine): Promise<void> {
  const { environment, record, instance } = machine
  const directory = runDirectoryOf(environment.runDirectory, instance)
  const mark = await findByUuid(instance, directory)
  if (mark === null) return await bury(machine)
  const live = await LiveMachine.attach(mark, directory, adoptMs)
  const status = await live.status()
  machine.follow(live, status === 'io-error' ? await whyHeld(live) : null)
  await machine.save({ process: { ...mark, bootId: environment.bootId } })
  await endJobs(live)
  await learnMerge(machine, live)
  await learnHeads(machine, live)
  await dropStrays(machine, live)
  await endMerge(machine)
  if (record.frozenBy !== null) thawForSure(machine, live)
  if (record.pausedBy !== null) {
    await live.control.execute('cont')
    await machine.save({ pausedBy: null })
  }
  if (status === 'shutdown') await machine.endAfterGuest(live)
  machine.log.info({ pid: mark.pid, status, frozenBy: record.frozenBy, pausedBy: record.pausedBy }, 'machine adopted')
}

/** No process: what was merely intended is over, and if it is wanted it has died. Said again at every start until somebody acts. */
async function bury(machine: Machine): Promise<void> {
  const { environment, record, instance } = machine
  await endMerge(machine)
  const hostReboot = record.process !== null && record.process.bootId !== environment.bootId
  await machine.save({ process: null, frozenBy: null, pausedBy: null, pivoting: [] })
  if (!record.wanted) return
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

/** The storage hears of a merge that happened before anything goes on. */
async function endMerge(machine: Machine): Promise<void> {
  await settleMerge(machine).catch((err: unknown) => machine.log.error({ err }, 'a merge could not be ended on the storage'))
  await closeOpened(machine)
}

/** Whether a merge happened is seen from the layer that should be gone: a node that something stands on cannot be let go of. */
async function learnMerge(machine: Machine, live: LiveMachine): Promise<void> {
  const { merging } = machine.record
  if (merging === null) return
  const gone = goneAfter(merging.merge)
  await live.dropNodes([gone])
  const disk = machine.requireDisk(merging.device)
  if ((await live.layers()).includes(gone) || disk.chain.at(-1) === gone) return // a head is learnt from its device
  await machine.saveChain(
    merging.device,
    disk.chain.filter((layer) => layer !== gone),
  )
}

/** The devices know whether a pivot or a merge happened; the record is set right after them. */
async function learnHeads(machine: Machine, live: LiveMachine): Promise<void> {
  const { spec, pivoting } = machine.record
  const heads = await machine.heads(live)
  const disks = spec.disks.map((disk) => {
    const head = heads[disk.device]
    if (head === undefined || head === disk.chain.at(-1)) return disk
    const at = disk.chain.indexOf(head)
    if (at >= 0) return { ...disk, chain: disk.chain.slice(0, at + 1) }
    return pivoting.some(({ device, to }) => device === disk.device && to === head)
      ? { ...disk, chain: [...disk.chain, head] }
      : disk
  })
  const merged = spec.disks.flatMap(({ device, chain }) => {
    const now = heads[device]
    const was = chain.at(-1)
    return now !== undefined && was !== undefined && chain.includes(now) && was !== now ? [{ layer: was, now }] : []
  })
  await machine.save({ spec: { ...spec, disks }, pivoting: [], stale: [...machine.record.stale, ...merged] })
}

/** Nodes of layers that no disk stands on: overlays of a pivot that did not happen, disks that were never attached. */
async function dropStrays(machine: Machine, live: LiveMachine): Promise<void> {
  const used = new Set(machine.record.spec.disks.flatMap(({ chain }) => chain))
  await live.dropNodes((await live.layers()).filter((layer) => !used.has(layer)))
}
