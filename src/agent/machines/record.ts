/**
 * What the agent knows of a machine, kept durably beside its console: enough to find its process again, to take back what was
 * only meant to last a moment, and to say which machines should be running.
 */
import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { readIfThere, writeDurably } from '../../adapters/storage/qcow2/durable.ts'
import type { InstanceId } from '../../domain/ids.ts'
import { isUuid } from '../../domain/ids.ts'
import { device, layerId, machineSpec, merge, operationId, pivotOutcome, poolId } from '../wire/schemas.ts'

const machineRecord = z.object({
  format: z.literal(1),
  /** As the machine is now: heads after pivots and merges, disks attached since. */
  spec: machineSpec,
  wanted: z.boolean(),
  /** It is off because its guest shut it down, and QEMU has ended by itself. */
  shutDown: z.boolean().default(false),
  process: z.object({ pid: z.number(), start: z.string(), bootId: z.string() }).nullable(),
  startedAt: z.string().nullable(),
  /** Pools in the order of the descriptors the process got them as. */
  pools: z.array(poolId),
  /** Operations that froze the guest's file systems or paused it. Written before the effect, cleared after it was taken back. */
  frozenBy: operationId.nullable(),
  pausedBy: operationId.nullable(),
  /** A pivot under way: which layer each device had, and will have. */
  pivoting: z.array(z.object({ device, from: layerId, to: layerId })),
  /** The last pivot that happened, for a caller who lost the answer. */
  pivoted: z.object({ heads: z.array(layerId), outcome: pivotOutcome }).nullable(),
  /** A merge under way. Once it has happened, the layer that goes is not in the device's chain any more. */
  merging: z.object({ device, pool: poolId, merge }).nullable(),
  /** Frozen layers that it may write. */
  opened: z.array(z.object({ pool: poolId, layer: layerId })),
  /** Heads that were merged down into others: their content is old since. */
  stale: z.array(z.object({ layer: layerId, now: layerId })),
})

export type MachineRecord = z.infer<typeof machineRecord>

export class Records {
  readonly #directory: string

  constructor(stateDirectory: string) {
    this.#directory = join(stateDirectory, 'machines')
  }

  directoryOf = (instance: InstanceId): string => join(this.#directory, instance)

  async all(): Promise<MachineRecord[]> {
    await mkdir(this.#directory, { recursive: true, mode: 0o711 })
    const found: MachineRecord[] = []
    for (const name of await readdir(this.#directory)) {
      if (!isUuid(name)) continue
      const text = await readIfThere(join(this.#directory, name, 'machine.json'))
      if (text !== null) found.push(machineRecord.parse(JSON.parse(text)))
    }
    return found
  }

  async save(record: MachineRecord): Promise<void> {
    const directory = this.directoryOf(record.spec.instance)
    await mkdir(directory, { recursive: true, mode: 0o711 })
    await writeDurably(join(directory, 'machine.json'), `${JSON.stringify(record, null, 1)}\n`, 0o600)
  }

  async forget(instance: InstanceId): Promise<void> {
    await rm(this.directoryOf(instance), { recursive: true, force: true })
  }
}
