/** Points and new layers of a pool as the vault sees them: read, and written, over NBD. */
import type { Bytes } from '../../domain/ids.ts'
import { refuse } from '../../domain/refusals.ts'
import type { BlockSource, BlockTarget, Extent } from '../../ports/blocks.ts'
import { NbdClient, type NbdContext } from '../nbd/client.ts'
import { allocation, errno } from '../nbd/constants.ts'
import { NbdClosed, NbdConfused, NbdRefused } from '../nbd/errors.ts'
import { type Range, union } from './ranges.ts'

/** Where a point is served, and if told, the point before it. `above`: its uppermost layers that the other does not have. */
export type SourcePlace = {
  readonly socket: string
  readonly sizeBytes: Bytes
  readonly to: { readonly export: string; readonly above: number }
  readonly from: { readonly export: string; readonly above: number } | null
}

/** What the server is asked about at once; it may answer for less. */
const askedBytes = 2 ** 30

type Status = Range & { readonly status: number }

async function* statuses(
  client: NbdClient,
  context: NbdContext,
  { from, to }: Range,
  signal: AbortSignal | undefined,
): AsyncGenerator<Status> {
  for (let at = from; at < to; ) {
    signal?.throwIfAborted()
    for (const { length, status } of await asked(client.blockStatus(context, at, Math.min(to - at, askedBytes)))) {
      yield { from: at, to: at + length, status }
      at += length
    }
  }
}

export class NbdSource implements BlockSource {
  readonly sizeBytes: Bytes
  readonly #reading: NbdClient
  readonly #layers: { readonly client: NbdClient; readonly above: number }[]

  private constructor(reading: NbdClient, layers: { readonly client: NbdClient; readonly above: number }[]) {
    this.sizeBytes = reading.sizeBytes
    this.#reading = reading
    this.#layers = layers
  }

  static async open({ socket, sizeBytes, to, from }: SourcePlace): Promise<NbdSource> {
    const reading = await asked(NbdClient.connect(socket, { export: to.export, contexts: ['base:allocation'] }))
    const layers: { client: NbdClient; above: number }[] = []
    const source = new NbdSource(reading, layers)
    try {
      if (reading.sizeBytes !== sizeBytes) throw refuse.hostFailure({ what: 'the point is not as large as it is said to be' })
      for (const { export: name, above } of from === null ? [] : [to, from]) {
        const client = await asked(NbdClient.connect(socket, { export: name, contexts: ['qemu:allocation-depth'] }))
        layers.push({ client, above })
      }
      return source
    } catch (error) {
      await source.close()
      throw error
    }
  }

  extents(signal?: AbortSignal): AsyncIterable<Extent> {
    return this.#extentsIn({ from: 0, to: this.sizeBytes }, signal)
  }

  /**
   * What lies in layers that only one of the two points has. Below those both read the same file. A layer that is shorter than
   * the one above hides what lies below its end; QEMU counts that as lying in it.
   */
  changedExtents(signal?: AbortSignal): AsyncIterable<Extent> | null {
    return this.#layers.length === 0 ? null : this.#changed(signal)
  }

  async *#changed(signal?: AbortSignal): AsyncGenerator<Extent> {
    const shortest = Math.min(...this.#layers.map(({ client }) => client.sizeBytes), this.sizeBytes)
    const grown = shortest < this.sizeBytes ? [{ from: shortest, to: this.sizeBytes }] : []
    const own = this.#layers.map((layer) => ownRanges(layer, shortest, signal))
    for await (const range of union(...own, streamOf(grown))) yield* this.#extentsIn(range, signal)
  }

  async *#extentsIn(range: Range, signal?: AbortSignal): AsyncGenerator<Extent> {
    let open: Extent = { offset: range.from, length: 0, kind: 'zero' }
    for await (const { from, to, status } of statuses(this.#reading, 'base:allocation', range, signal)) {
      const kind = (status & allocation.zero) === 0 ? 'data' : 'zero'
      if (open.kind !== kind) {
        if (open.length > 0) yield open
        open = { offset: from, length: 0, kind }
      }
      open = { ...open, length: to - open.offset }
    }
    if (open.length > 0) yield open
  }

  async read(offset: Bytes, length: Bytes): Promise<Buffer> {
    const most = this.#reading.mostBytes
    if (length <= most) return await asked(this.#reading.read(offset, length))
    const rest = await this.read(offset + most, length - most)
    return Buffer.concat([await this.read(offset, most), rest])
  }

  async close(): Promise<void> {
    await Promise.all([this.#reading, ...this.#layers.map(({ client }) => client)].map((client) => client.close()))
  }
}

async function* ownRanges(
  { client, above }: { readonly client: NbdClient; readonly above: number },
  upTo: Bytes,
  signal: AbortSignal | undefined,
): AsyncGenerator<Range> {
  for await (const { from, to, status: depth } of statuses(client, 'qemu:allocation-depth', { from: 0, to: upTo }, signal))
    if (depth > 0 && depth <= above) yield { from, to }
}

async function* streamOf(ranges: readonly Range[]): AsyncGenerator<Range> {
  yield* ranges
}

export class NbdTarget implements BlockTarget {
  readonly sizeBytes: Bytes
  readonly #client: NbdClient
  readonly #pool: string

  private constructor(client: NbdClient, pool: string) {
    this.sizeBytes = client.sizeBytes
    this.#client = client
    this.#pool = pool
  }

  static async open(socket: string, name: string, pool: string): Promise<NbdTarget> {
    return new NbdTarget(await asked(NbdClient.connect(socket, { export: name })), pool)
  }

  async write(offset: Bytes, data: Uint8Array): Promise<void> {
    const most = this.#client.mostBytes
    for (let at = 0; at < data.length; at += most)
      await asked(this.#client.write(offset + at, data.subarray(at, at + most)), this.#pool)
  }

  async flush(): Promise<void> {
    await asked(this.#client.flush(), this.#pool)
  }

  close = (): Promise<void> => this.#client.close()
}

/** What a server says is not for clients' eyes; a full pool is. */
async function asked<T>(answer: Promise<T>, pool?: string): Promise<T> {
  try {
    return await answer
  } catch (error) {
    if (error instanceof NbdRefused && error.errno === errno.ENOSPC && pool !== undefined) throw refuse.poolFull({ pool })
    if (error instanceof NbdRefused)
      throw refuse.hostFailure({ what: `a disk could not be read or written (${error.message})` })
    if (error instanceof NbdClosed || error instanceof NbdConfused)
      throw refuse.hostFailure({ what: 'the storage daemon has ended, or does not answer' })
    throw error
  }
}
