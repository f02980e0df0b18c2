/**
 * The pivot: all disks of a running machine go on in new layers, at one moment. It has no undo; whoever does not know whether
 * it happened asks the devices, as this does first.
 *
 * What the guest has written is brought to the disk before, from outside of QEMU, so that little is left to flush while it waits.
 */
import { open } from 'node:fs/promises'
import type { LayerId, OperationId } from '../../domain/ids.ts'
import { refuse } from '../../domain/refusals.ts'
import { failpoint } from '../../failpoints.ts'
import type { PivotOutcome, PivotRequest } from '../../ports/host-agent.ts'
import { QmpClosed } from '../qmp/errors.ts'
import { layerNode } from './command-line.ts'
import { type Freeze, freezeGuest, type Quiet } from './freeze.ts'
import type { LiveMachine } from './live.ts'
import type { Machine } from './machine.ts'
import { nodeOf } from './names.ts'

/** QEMU waits for what is in flight, and flushes; a slow disk may take seconds, and giving up leaves the result unknown. */
const transactionMs = 60_000

const gone: PivotOutcome = {
  result: 'gone',
  achieved: 'crash',
  why: 'The machine ended before or while its disks were turned.',
  stallMs: 0,
}

export async function pivot(machine: Machine, request: PivotRequest, operation: OperationId): Promise<PivotOutcome> {
  const { live } = machine
  if (live === null) return gone
  try {
    return (await pivotedBefore(machine, live, request)) ?? (await pivotNow(machine, live, request, operation))
  } catch (error) {
    if (!(error instanceof QmpClosed)) throw error
    await live.gone
    return gone
  }
}

const targets = ({ disks }: PivotRequest): LayerId[] => disks.map(({ to }) => to)

/** The outcome, if the devices write the new layers already; refuses when they write others than either. */
async function pivotedBefore(machine: Machine, live: LiveMachine, request: PivotRequest): Promise<PivotOutcome | null> {
  const heads = await machine.heads(live)
  if (request.disks.every(({ device, to }) => heads[device] === to)) {
    const { pivoted } = machine.record
    if (pivoted !== null && pivoted.heads.join() === targets(request).join()) return pivoted.outcome
    const why = 'The agent was started again in between, so it is not known whether the guest was quiet.'
    return { result: 'pivoted', achieved: 'crash', why, stallMs: 0 }
  }
  const other = request.disks.find(({ device, from }) => heads[device] !== from)
  if (other) throw refuse.hostFailure({ what: `disk ${other.device} does not write layer ${other.from}` })
  return null
}

async function pivotNow(
  machine: Machine,
  live: LiveMachine,
  request: PivotRequest,
  operation: OperationId,
): Promise<PivotOutcome> {
  await failpoint('agent.pivot.before-overlays')
  await Promise.all(
    request.disks.map(({ pool, from }) => flushFile(`${machine.pool({ pool }).directory}/layers/${from}.qcow2`)),
  )
  await machine.save({ pivoting: request.disks.map(({ device, from, to }) => ({ device, from, to })) })
  try {
    for (const disk of request.disks) await addOverlay(machine, live, disk)
    await failpoint('agent.pivot.after-overlays')
    const outcome = await turn(machine, live, request, operation)
    await remember(machine, request, outcome)
    await failpoint('agent.pivot.after-record')
    machine.log.info({ disks: request.disks.length, ...outcome }, 'pivoted')
    return outcome
  } catch (error) {
    if (machine.live === live && !live.control.isClosed) await takeBack(machine, live, request)
    throw error
  }
}

/** Freeze if asked, turn, thaw in any case. A guest is not kept frozen for longer than it may be, however long turning takes. */
async function turn(machine: Machine, live: LiveMachine, request: PivotRequest, operation: OperationId): Promise<PivotOutcome> {
  const freeze = await freezeIfAsked(machine, live, request, operation)
  const since = freeze.since ?? performance.now()
  let isInTime = true
  try {
    await failpoint('agent.pivot.before-transaction')
    isInTime = freeze.until === null || performance.now() < freeze.until
    if (!isInTime) await freeze.end()
    const turned = transaction(live, request)
    if (isInTime && freeze.until !== null) {
      isInTime = await isOverBy(freeze.until, turned)
      if (!isInTime) await freeze.end()
    }
    await turned
    await failpoint('agent.pivot.after-transaction')
  } finally {
    await freeze.end()
  }
  const quiet = isInTime ? await freeze.end() : tooLate
  await failpoint('agent.pivot.after-thaw')
  return { result: 'pivoted', ...quiet, stallMs: Math.round((performance.now() - since) * 10) / 10 }
}

const notAsked: Freeze = { since: null, until: null, end: async () => ({ achieved: 'crash', why: null }) }
const tooLate: Quiet = {
  achieved: 'crash',
  why: 'Turning the disks took longer than the guest may stay frozen, so it was thawed before.',
}

async function freezeIfAsked(
  machine: Machine,
  live: LiveMachine,
  { consistency, freezeSeconds: seconds }: PivotRequest,
  operation: OperationId,
): Promise<Freeze> {
  if (consistency === 'crash') return notAsked
  return await freezeGuest(machine, live, { operation, seconds, hooks: consistency === 'application' })
}

async function transaction(live: LiveMachine, { disks }: PivotRequest): Promise<void> {
  const actions = disks.map(({ from, to }) => ({
    type: 'blockdev-snapshot',
    data: { node: nodeOf(from), overlay: nodeOf(to) },
  }))
  await live.control.execute('transaction', { actions }, { deadlineMs: transactionMs })
}

/** Whether it has ended by then, well or not. */
async function isOverBy(until: number, work: Promise<void>): Promise<boolean> {
  const late = Promise.withResolvers<boolean>()
  const timer = setTimeout(() => late.resolve(false), Math.max(1, until - performance.now()))
  const over = work.then(
    () => true,
    () => true,
  )
  try {
    return await Promise.race([over, late.promise])
  } finally {
    clearTimeout(timer)
  }
}

async function addOverlay(machine: Machine, live: LiveMachine, disk: PivotRequest['disks'][number]): Promise<void> {
  const present = await live.layers()
  if (present.includes(disk.to)) return
  const node = layerNode(machine.paths.layer(disk.pool, disk.to), disk.to, { readOnly: false, backing: null })
  await live.control.execute('blockdev-add', node)
}

async function remember(machine: Machine, request: PivotRequest, outcome: PivotOutcome): Promise<void> {
  const { spec } = machine.record
  const disks = spec.disks.map((disk) => {
    const turned = request.disks.find(({ device }) => device === disk.device)
    return turned && !disk.chain.includes(turned.to) ? { ...disk, chain: [...disk.chain, turned.to] } : disk
  })
  await machine.save({ spec: { ...spec, disks }, pivoting: [], pivoted: { heads: targets(request), outcome } })
}

/** Nothing was turned: the overlays are let go of, so that they can be removed. What was turned cannot be let go of. */
async function takeBack(machine: Machine, live: LiveMachine, request: PivotRequest): Promise<void> {
  const heads = await machine.heads(live)
  if (request.disks.some(({ device, to }) => heads[device] === to)) return
  await live.dropNodes(targets(request))
  await machine.save({ pivoting: [] })
}

async function flushFile(path: string): Promise<void> {
  await using file = await open(path, 'r')
  await file.datasync()
}
