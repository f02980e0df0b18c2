/**
 * Writes a backup. What changed since the backup before, or everything, is read in pieces of at most 1 MiB, named, and compared
 * with what that backup has in the same place; what differs is stored. The same pages are the same pages: they are shared.
 *
 *   marker · generation of the sweep · blocks, pages → packs · index objects · generation again · manifest · read back · generation
 */
import type { BackupId } from '../../domain/ids.ts'
import type { BlockSource, Extent } from '../../ports/blocks.ts'
import type { BackupFacts, BackupOutcome, BackupRef, Report } from '../../ports/vault-mover.ts'
import { Attempt } from './attempt.ts'
import { inOrder, Turns } from './flow.ts'
import { nameContent } from './format/blob.ts'
import { Damaged } from './format/damage.ts'
import { writerIn } from './format/names.ts'
import { blockBytes, childOf, depthOf, fanOut, idBytes, isZeroId, zeroId } from './format/shape.ts'
import { Locator } from './index/locator.ts'
import { Meter, Throttle } from './pace.ts'
import { treeOf } from './pages.ts'
import { rootHashOf } from './root-hash.ts'
import { type Span, spansOf, type Task, tasksOf } from './spans.ts'
import { StoredLately } from './stored-lately.ts'
import { TreeBuilder } from './tree/builder.ts'
import { Tree, usedIn, usedUnder } from './tree/tree.ts'
import type { Manifest, VolumeVault } from './volume.ts'
import type { Crew } from './workers/crew.ts'

export type Writing = {
  readonly of: BackupRef
  /** As `WriteBackup.previous`; what changed since is told by the source. */
  readonly previous: { readonly backup: BackupId; readonly whyNot: string | null } | null
  readonly facts: BackupFacts
}

export type Means = {
  readonly crew: Crew
  readonly bytesPerSecond: number | null
  readonly parallel: number
  readonly report: Report | undefined
  readonly signal: AbortSignal | undefined
}

/** Blocks that are read with one call. */
const pieceBlocks = 16
/** Leaf pages, of 8 MiB of the disk each, that are begun before the first of them is done. */
const leavesUnderWay = 4

/** What is written upon: the backup whose pages are shared, and whether the source tells what changed since. */
type Base = { readonly manifest: Manifest; readonly tree: Tree } | null

export async function writeBackup(
  volume: VolumeVault,
  request: Writing,
  source: BlockSource,
  means: Means,
): Promise<BackupOutcome> {
  const there = await volume.find(request.of.backup)
  if (there !== null) {
    await endMarkers(volume, request.of.backup)
    return outcomeOf(there)
  }
  const { base, whyNot } = await baseOf(volume, request, source)
  try {
    return await writeUpon(volume, request, source, means, base, whyNot)
  } catch (error) {
    // Pages that cannot be read cannot be shared either: nothing of that backup is used.
    if (base === null || !(error instanceof Damaged)) throw error
    return await writeUpon(volume, request, source, means, null, 'the previous backup is damaged, or has just been deleted')
  }
}

/** A call that did not hear its own end may have left its marker. */
async function endMarkers(volume: VolumeVault, backup: BackupId): Promise<void> {
  for (const name of await volume.markers()) if (writerIn(name) === backup) await volume.store.remove(name)
}

/** The backup before, if it can lend its pages; else why it cannot. */
async function baseOf(
  volume: VolumeVault,
  { of, previous }: Writing,
  source: BlockSource,
): Promise<{ base: Base; whyNot: string | null }> {
  if (previous === null) return { base: null, whyNot: "it is the volume's first backup in this vault" }
  const manifest = await volume.find(previous.backup).catch((error: unknown) => {
    if (error instanceof Damaged) return null
    throw error
  })
  if (manifest === null) return { base: null, whyNot: 'the previous backup is not in the vault any more, or is damaged' }
  if (manifest.of.project !== of.project) return { base: null, whyNot: 'the previous backup is of another project' }
  if (manifest.sizeBytes > source.sizeBytes) return { base: null, whyNot: 'the volume was larger at the previous backup' }
  const tree = treeOf(volume, new Locator(volume.store, volume.keys, volume.names), manifest)
  return { base: { manifest, tree }, whyNot: previous.whyNot }
}

async function writeUpon(
  volume: VolumeVault,
  request: Writing,
  source: BlockSource,
  means: Means,
  base: Base,
  whyNot: string | null,
): Promise<BackupOutcome> {
  const attempt = await Attempt.begin(volume, request.of, base?.manifest ?? null, means)
  try {
    if (base !== null) await proveLender(volume, base.manifest)
    const changed = base === null ? null : source.changedExtents(attempt.signal)
    const writer = new BackupWriter(volume, request.of, source, means, base, attempt)
    const root = await attempt.guard(() => writer.write(changed ?? source.extents(attempt.signal)))
    const isIncremental = changed !== null
    const manifest = await attempt.commit({
      sizeBytes: source.sizeBytes,
      root: root.toString('hex'),
      rootHash: rootHashOf(writer.hashKey, root, source.sizeBytes),
      usedBlocks: writer.usedBlocks,
      shares: base?.manifest.of.backup ?? null,
      readBytes: writer.readBytes,
      base: isIncremental ? (base?.manifest.of.backup ?? null) : null,
      why: isIncremental ? null : (whyNot ?? 'the pool cannot tell what changed'),
      facts: request.facts,
    })
    await attempt.end()
    return outcomeOf(manifest)
  } catch (error) {
    // The marker that stays where it cannot be removed goes with `discardBackup`.
    await attempt.end().catch(() => undefined)
    throw error
  }
}

/** Before there was a marker, sweeps might have taken what is going to be shared. */
async function proveLender(volume: VolumeVault, { of, attempt }: Manifest): Promise<void> {
  if ((await volume.find(of.backup))?.attempt !== attempt)
    throw new Damaged(volume.names.manifest(of.backup), 'it is not there any more')
}

const outcomeOf = ({ rootHash, sizeBytes, readBytes, storedBytes, base, why }: Manifest): BackupOutcome => ({
  rootHash,
  sizeBytes,
  readBytes,
  storedBytes,
  base,
  why,
})

class BackupWriter {
  readonly hashKey: Buffer
  readBytes = 0
  usedBlocks: number
  readonly #source: BlockSource
  readonly #means: Means
  readonly #attempt: Attempt
  readonly #earlier: Tree
  readonly #depth: number
  readonly #throttle: Throttle
  readonly #meter: Meter
  readonly #turns: Turns
  readonly #stored = new StoredLately()

  constructor(volume: VolumeVault, of: BackupRef, source: BlockSource, means: Means, base: Base, attempt: Attempt) {
    this.hashKey = volume.keys.ofHashes(of.project)
    this.usedBlocks = base?.manifest.usedBlocks ?? 0
    this.#source = source
    this.#means = means
    this.#attempt = attempt
    this.#depth = depthOf(source.sizeBytes)
    this.#earlier = base?.tree ?? new Tree(() => Promise.reject(new Error('an empty tree has no pages')), zeroId, this.#depth)
    this.#throttle = new Throttle(means.bytesPerSecond)
    this.#meter = new Meter(means.report)
    this.#turns = new Turns(means.parallel)
  }

  /** The id of the root, when all that it stands for has been handed to the packs. */
  async write(extents: AsyncIterable<Extent>): Promise<Buffer> {
    const builder = await TreeBuilder.over(this.#earlier, this.#depth, (level, content, known) =>
      this.#page(level, content, known),
    )
    const spans = this.#counted(spansOf(extents, this.#source.sizeBytes))
    const tasks = tasksOf(spans, Math.min(this.#depth, this.#earlier.depth))
    await inOrder(
      tasks,
      leavesUnderWay,
      (task) => this.#run(task),
      async (change) => {
        this.#attempt.signal.throwIfAborted()
        if (change === null) return
        this.usedBlocks += change.used
        await builder.assign(change.level, change.position, change.id)
      },
    )
    const root = await builder.finish()
    this.#meter.tell()
    return root
  }

  async *#counted(spans: AsyncIterable<Span>): AsyncGenerator<Span> {
    for await (const span of spans) {
      if (span.kind === 'data') this.#meter.expect((span.end - span.first) * blockBytes)
      yield span
    }
  }

  /** What becomes of the page; null: it stays as it was. */
  async #run(task: Task): Promise<{ level: number; position: number; id: Buffer; used: number } | null> {
    const { position } = task
    if (task.kind === 'zero') {
      const used = await usedUnder(this.#earlier, task.level, position)
      return used === 0 ? null : { level: task.level, position, id: zeroId, used: -used }
    }
    const before = await this.#earlier.pageAt(1, position)
    const after = Buffer.from(before)
    await Promise.all(task.spans.flatMap((span) => [...this.#pieces(span, position, before, after)]))
    if (after.equals(before)) return null
    const known = await this.#knownLeaf(position)
    return { level: 1, position, id: await this.#page(1, after, known), used: usedIn(after) - usedIn(before) }
  }

  #knownLeaf(position: number): Promise<Buffer> {
    return this.#earlier.idAt(1, position)
  }

  /** The work on a span of a leaf page: afterwards `after` has the ids of its blocks. */
  *#pieces({ first, end, kind }: Span, leaf: number, before: Buffer, after: Buffer): Generator<Promise<void>> {
    if (kind === 'zero') {
      after.fill(0, (first - leaf * fanOut) * idBytes, (end - leaf * fanOut) * idBytes)
      return
    }
    for (let block = first; block < end; block += pieceBlocks) {
      const count = Math.min(pieceBlocks, end - block)
      yield this.#turns.take(async () => {
        const index = block - leaf * fanOut
        const ids = await this.#store(block, count, before.subarray(index * idBytes, (index + count) * idBytes))
        after.set(ids, index * idBytes)
      })
    }
  }

  /** Reads the blocks, and stores those that are not where the backup before had them, nor stored lately. Their ids. */
  async #store(block: number, count: number, before: Buffer): Promise<Uint8Array> {
    this.#attempt.signal.throwIfAborted()
    const offset = block * blockBytes
    const length = Math.min(count * blockBytes, this.#source.sizeBytes - offset)
    await this.#throttle.take(length, this.#attempt.signal)
    const data = ownBytes(await this.#source.read(offset, length), count * blockBytes)
    this.readBytes += length
    const named = await this.#means.crew.do('identify', { data, hashKey: this.hashKey })
    const ids = Buffer.from(named.ids)
    const picks = []
    for (let pick = 0; pick < count; pick++) {
      const id = childOf(ids, pick)
      if (!isZeroId(id) && !id.equals(childOf(before, pick)) && this.#stored.isNew(id)) picks.push(pick)
    }
    if (picks.length > 0) await this.#attempt.blocks.addBlocks(named, picks)
    this.#meter.add(count * blockBytes)
    return ids
  }

  async #page(level: number, content: Buffer, known: Buffer | null): Promise<Buffer> {
    if (content.every((byte) => byte === 0)) return zeroId
    const id = nameContent(this.hashKey, level, content)
    if (known?.equals(id) !== true && this.#stored.isNew(id)) await this.#attempt.pages.addPage(level, id, content)
    return id
  }
}

/** The bytes in memory of their own, filled up with zeros: they are going to be handed to another thread. */
function ownBytes(bytes: Buffer, length: number): Uint8Array<ArrayBuffer> {
  const { buffer } = bytes
  if (bytes.length === length && buffer instanceof ArrayBuffer && buffer.byteLength === length) return new Uint8Array(buffer)
  const own = new Uint8Array(length)
  own.set(bytes)
  return own
}
