/** A running QEMU process, seen through its two monitors: one for commands, one for what it tells by itself. */
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { z } from 'zod'
import { goneWithin, isGone, type ProcessMark } from '../../adapters/storage/processes.ts'
import type { LayerId } from '../../domain/ids.ts'
import { QmpClient, type QmpOptions } from '../qmp/client.ts'
import { QmpRefused } from '../qmp/errors.ts'
import { layerOfNode, nodeOf } from './names.ts'

const status = z.object({ status: z.string(), running: z.boolean() })
const chardevs = z.array(z.object({ label: z.string(), 'frontend-open': z.boolean() }))
const nodes = z.array(z.object({ 'node-name': z.string().optional() }))

/** Between two looks whether a new process listens already; it takes about 30 ms until it does. */
const lookAgainMs = 2
/** A process that closed its monitor is ending; flushing its disks may take long. Looked at again, and again. */
const endingMs = 1_000

export class LiveMachine {
  readonly mark: ProcessMark
  readonly directory: string
  readonly control: QmpClient
  readonly events: QmpClient
  /** Resolves when the process has gone and its locks are free. */
  readonly gone: Promise<void>

  private constructor(mark: ProcessMark, directory: string, control: QmpClient, events: QmpClient) {
    this.mark = mark
    this.directory = directory
    this.control = control
    this.events = events
    this.gone = this.#watch()
  }

  /** Connects to a process, new or old; rejects when it ends instead. Answers when its devices are there. */
  static async attach(mark: ProcessMark, directory: string, deadlineMs: number): Promise<LiveMachine> {
    const until = performance.now() + deadlineMs
    const left = (): number => Math.max(1, until - performance.now())
    const connect = (name: string): Promise<QmpClient> => connectTo(mark, join(directory, name), left)
    const both = await Promise.allSettled([connect('control'), connect('events')])
    const [control, events] = both
    if (control.status === 'fulfilled' && events.status === 'fulfilled') {
      await control.value.execute('query-status', {}, { deadlineMs: left() })
      return new LiveMachine(mark, directory, control.value, events.value)
    }
    for (const one of both) if (one.status === 'fulfilled') one.value.close()
    throw new Error('QEMU did not answer', { cause: both.find(({ status: how }) => how === 'rejected') })
  }

  /** `running`, `paused`, `io-error`, `shutdown`, …: QEMU's own words. */
  status = async (options: QmpOptions = {}): Promise<string> =>
    (await this.control.query('query-status', status, {}, options)).status

  /** The layer a device writes, asked of the device: no I/O is needed for the answer. Null: the guest has let go of it. */
  async headOf(device: string, options: QmpOptions = {}): Promise<LayerId | null> {
    const args = { path: `/machine/peripheral/${device}`, property: 'drive' }
    try {
      return layerOfNode(await this.control.query('qom-get', z.string(), args, options))
    } catch (error) {
      if (error instanceof QmpRefused && error.class === 'DeviceNotFound') return null
      throw error
    }
  }

  /** Layers that QEMU has nodes for, used or not. */
  async layers(): Promise<LayerId[]> {
    const found = await this.control.query('query-named-block-nodes', nodes, { flat: true })
    return found.flatMap((node) => layerOfNode(node['node-name'] ?? '') ?? [])
  }

  /** Lets go of layers, uppermost first; those that something still stands on are left. */
  async dropNodes(layers: readonly LayerId[]): Promise<void> {
    for (const layer of layers.toReversed())
      await this.control.execute('blockdev-del', { 'node-name': nodeOf(layer) }).catch(() => undefined)
  }

  /** Whether a program in the guest has the channel open. */
  async guestListens(channel: string): Promise<boolean> {
    const found = await this.control.query('query-chardev', chardevs)
    return found.some(({ label, ['frontend-open']: open }) => label === channel && open)
  }

  close(): void {
    this.control.close()
    this.events.close()
  }

  async #watch(): Promise<void> {
    await Promise.race([this.control.closed, this.events.closed])
    while (!(await goneWithin(this.mark, endingMs))) await pause(endingMs)
    this.close()
  }
}

async function connectTo(mark: ProcessMark, path: string, left: () => number): Promise<QmpClient> {
  for (;;) {
    try {
      return await QmpClient.connect(path, { deadlineMs: left() })
    } catch (error) {
      if ((await isGone(mark)) || left() <= 1) throw error
      await pause(lookAgainMs)
    }
  }
}
