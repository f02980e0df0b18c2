/**
 * Merges two layers in the chain of a running machine.
 *
 * QEMU's jobs end by naming the new backing file in a header before the tables that need it are on the disk: killed there, the
 * disk is silently damaged. So the job is kept from ending by itself; the node that was written is flushed while it waits; only
 * then it may end. Cancelled or killed before, everything above reads as before.
 *
 *   pull   `upper` takes in `lower`: block-stream. Every point above and below keeps its content.
 *   push   `upper` goes down into `lower`: block-commit. If `upper` is the head, the device goes on in `lower`, and from
 *          then on `upper` is old: the guest is held until its file is gone, so that nobody can ever take it for the head.
 *          It stays held when that fails; merging again ends it.
 *
 * The machine's other calls wait only while a merge begins and ends, not while it copies.
 */
import type { LayerId, OperationId, PoolId } from '../../domain/ids.ts'
import { refuse } from '../../domain/refusals.ts'
import { failpoint } from '../../failpoints.ts'
import type { MachineDisk } from '../../ports/host-agent.ts'
import type { Merge } from '../../ports/storage-driver.ts'
import { QmpClosed } from '../qmp/errors.ts'
import { BlockJob } from './block-job.ts'
import { headOf } from './command-line.ts'
import { learnHeads, learnMerge } from './learn.ts'
import type { LiveMachine } from './live.ts'
import type { Machine } from './machine.ts'
import { goneAfter } from './merged.ts'
import { nodeOf } from './names.ts'
import { closeOpened } from './opened.ts'

export type MergeCall = {
  readonly device: string
  readonly pool: PoolId
  readonly merge: Merge
  readonly operation: OperationId
  readonly signal: AbortSignal
}

type Begun = { readonly live: LiveMachine; readonly job: BlockJob; readonly active: boolean }

export async function mergeLive(machine: Machine, call: MergeCall): Promise<void> {
  const begun = await machine.serial.run(() => begin(machine, call))
  if (begun === null) return machine.serial.run(() => finishAgain(machine, call))
  const { live, job, active } = begun
  let isEnded = false
  try {
    await job.reach([active ? 'ready' : 'pending'], call.signal)
    await failpoint('agent.merge.after-job')
    await machine.serial.run(() =>
      active ? whileHeld(machine, call, () => finish(machine, call, begun)) : finish(machine, call, begun),
    )
    isEnded = true
  } finally {
    await job.end().catch((error: unknown) => machine.log.warn({ err: error }, 'a merge was not cleared away'))
    await machine.serial.run(async () => {
      if (!isEnded && machine.live === live) await learn(machine, live)
      await closeOpened(machine)
    })
  }
}

const writtenBy = ({ direction, lower, upper }: Merge): LayerId => (direction === 'pull' ? upper : lower)
const fileOf = (layer: LayerId): string => `${layer}.qcow2`

/** Null: it was merged before. */
async function begin(machine: Machine, { device, pool, merge, signal }: MergeCall): Promise<Begun | null> {
  signal.throwIfAborted()
  const live = machine.requireLive()
  const disk = machine.requireDisk(device)
  if (!disk.chain.includes(goneAfter(merge)) && disk.chain.includes(writtenBy(merge))) return null
  requireNeighbours(disk.chain, merge)
  if (machine.record.merging !== null) throw refuse.hostFailure({ what: 'another merge of this machine is under way' })
  const head = headOf(disk)
  const active = merge.direction === 'push' && head === merge.upper
  const opened = writtenFiles(disk, merge).filter((layer) => layer !== head)
  await machine.save({ opened: opened.map((layer) => ({ pool, layer })), merging: { device, pool, merge } })
  await machine.pool({ pool }).beginMerge(merge)
  await failpoint('agent.merge.before-job')
  try {
    for (const layer of opened) await machine.pool({ pool }).allowWriting(layer)
    const job =
      merge.direction === 'pull'
        ? await BlockJob.start(live, 'merge', 'block-stream', {
            device: nodeOf(merge.upper),
            ...(merge.base === null ? {} : { 'base-node': nodeOf(merge.base), 'backing-file': fileOf(merge.base) }),
          })
        : await BlockJob.start(live, 'merge', 'block-commit', {
            device: nodeOf(head),
            'top-node': nodeOf(merge.upper),
            'base-node': nodeOf(merge.lower),
            ...(active ? {} : { 'backing-file': fileOf(merge.lower) }),
          })
    return { live, job, active }
  } catch (error) {
    await closeOpened(machine)
    throw error
  }
}

function requireNeighbours(chain: readonly LayerId[], { lower, upper, base }: Merge): void {
  const at = chain.indexOf(lower)
  if (at < 0 || chain[at + 1] !== upper || (chain[at - 1] ?? null) !== base)
    throw refuse.hostFailure({ what: `layers ${lower} and ${upper} do not stand on one another in the running machine` })
}

/** A push also writes a new backing name into the layer above. */
function writtenFiles({ chain }: MachineDisk, merge: Merge): LayerId[] {
  const above = chain[chain.indexOf(merge.upper) + 1]
  return [writtenBy(merge), ...(merge.direction === 'push' && above !== undefined ? [above] : [])]
}

async function finish(
  machine: Machine,
  { device, pool, merge, signal }: MergeCall,
  { live, job, active }: Begun,
): Promise<void> {
  signal.throwIfAborted()
  if (active) await job.advance('job-complete', 'pending')
  const said = await live.control.human(`qemu-io ${nodeOf(writtenBy(merge))} flush`)
  if (said.trim() !== '') throw new Error(`flushing before the end of a merge: ${said}`)
  await failpoint('agent.merge.before-finalize')
  await job.advance('job-finalize', 'concluded')
  await failpoint('agent.merge.after-finalize')
  const chain = machine.requireDisk(device).chain.filter((layer) => layer !== goneAfter(merge))
  const { stale } = machine.record
  await machine.saveChain(device, chain, active ? { stale: [...stale, { layer: merge.upper, now: merge.lower }] } : {})
  await failpoint('agent.merge.after-record')
  await job.end()
  await live.dropNodes([goneAfter(merge)])
  await machine.pool({ pool }).finishMerge(merge)
  machine.log.info({ ...merge, device }, 'layers merged')
}

/** It failed, but perhaps only after QEMU had done it. */
async function learn(machine: Machine, live: LiveMachine): Promise<void> {
  try {
    await learnMerge(machine, live)
    await learnHeads(machine, live)
  } catch (error) {
    machine.log.warn({ err: error }, 'what became of a merge is not known')
  }
}

/** It had happened, but its end on the storage had failed. */
async function finishAgain(machine: Machine, { pool, merge, operation }: MergeCall): Promise<void> {
  const live = machine.requireLive()
  await live.dropNodes([goneAfter(merge)])
  await machine.pool({ pool }).finishMerge(merge)
  if (machine.record.pausedBy === operation) await letGoOn(machine, live)
}

/** Runs with the guest's processors stopped; an agent that dies in between leaves the note that makes the next one go on. */
async function whileHeld(machine: Machine, { device, merge, operation }: MergeCall, work: () => Promise<void>): Promise<void> {
  const live = machine.requireLive()
  await machine.save({ pausedBy: operation })
  await live.control.execute('stop')
  try {
    await work()
  } catch (error) {
    const head = await live.headOf(device).catch(() => merge.lower)
    if (head !== merge.lower) await letGoOn(machine, live)
    throw error
  }
  await letGoOn(machine, live)
}

/** A process that ended meanwhile has nothing to go on with. */
async function letGoOn(machine: Machine, live: LiveMachine): Promise<void> {
  if (machine.heldBy === null)
    await live.control.execute('cont').catch((error: unknown) => {
      if (!(error instanceof QmpClosed)) throw error
    })
  await machine.save({ pausedBy: null })
}
