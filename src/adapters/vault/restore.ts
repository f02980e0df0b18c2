/**
 * Fills a blank disk from a backup: leaf page by leaf page, in pieces of at most 1 MiB, several under way at once. Every block
 * is proved before it is written, the pages up to the root with it, and the root against what was asked for: what ends without
 * an error is whole.
 */
import type { Bytes } from '../../domain/ids.ts'
import { refuse } from '../../domain/refusals.ts'
import type { BlockTarget } from '../../ports/blocks.ts'
import { inOrder, Turns } from './flow.ts'
import { Damaged } from './format/damage.ts'
import { blockBytes, blocksOf, childOf, fanOut, isZeroId } from './format/shape.ts'
import { Locator, type Place } from './index/locator.ts'
import { Meter, Throttle } from './pace.ts'
import { treeOf } from './pages.ts'
import { rootHashOf } from './root-hash.ts'
import type { Tree } from './tree/tree.ts'
import type { Manifest, VolumeVault } from './volume.ts'
import { openJob, ownBytes } from './workers/open-blocks.ts'
import type { Means } from './write.ts'

const pieceBlocks = 16
const leavesUnderWay = 4
/** So much between two blobs is read over rather than read around. */
const gapBytes = 128 * 1024

/** Throws `Damaged`. */
export async function restoreBackup(
  volume: VolumeVault,
  manifest: Manifest,
  target: BlockTarget,
  means: Means,
): Promise<{ readonly writtenBytes: Bytes }> {
  if (target.sizeBytes < manifest.sizeBytes) throw refuse.backupLarger({ backup: manifest.sizeBytes, volume: target.sizeBytes })
  const locator = new Locator(volume.store, volume.keys, volume.names)
  const tree = treeOf(volume, locator, manifest)
  const hashKey = volume.keys.ofHashes(manifest.of.project)
  if (rootHashOf(hashKey, tree.root, manifest.sizeBytes) !== manifest.rootHash)
    throw new Damaged(volume.names.manifest(manifest.of.backup), 'its root is not what it says')
  const turns = new Turns(means.parallel)
  const throttle = new Throttle(means.bytesPerSecond)
  const meter = new Meter(means.report)
  meter.expect(manifest.usedBlocks * blockBytes)
  let writtenBytes = 0
  const restoreRun = async ({ first, ids }: Run): Promise<void> => {
    means.signal?.throwIfAborted()
    const offset = first * blockBytes
    const length = Math.min(ids.length * blockBytes, manifest.sizeBytes - offset)
    await throttle.take(length, means.signal)
    const data = await readBlocks(volume, locator, ids, hashKey, means)
    await target.write(offset, data.subarray(0, length))
    writtenBytes += length
    meter.add(ids.length * blockBytes)
  }
  const leaf = async (position: number) => {
    const runs = runsOf(await tree.pageAt(1, position), position)
    await Promise.all(runs.map((run) => turns.take(() => restoreRun(run))))
  }
  await inOrder(leavesOf(tree, manifest.sizeBytes), leavesUnderWay, leaf, async () => means.signal?.throwIfAborted())
  await target.flush()
  meter.tell()
  return { writtenBytes }
}

/** Positions of the leaf pages under which there is data, in order. */
export async function* leavesOf(tree: Tree, sizeBytes: Bytes): AsyncGenerator<number> {
  const end = Math.ceil(blocksOf(sizeBytes) / fanOut)
  for (let position = 0; position < end; ) {
    let empty = 0
    for (let level = 1; level <= tree.depth && position % fanOut ** (level - 1) === 0; level++)
      if (isZeroId(await tree.idAt(level, position / fanOut ** (level - 1)))) empty = level
    if (empty === 0) yield position
    position += empty === 0 ? 1 : fanOut ** (empty - 1)
  }
}

/** Neighbouring blocks with data. */
type Run = { readonly first: number; readonly ids: readonly Buffer[] }

function runsOf(page: Buffer, position: number): readonly Run[] {
  const runs: { first: number; ids: Buffer[] }[] = []
  for (let index = 0; index < fanOut; index++) {
    const id = childOf(page, index)
    if (isZeroId(id)) continue
    const last = runs.at(-1)
    const block = position * fanOut + index
    if (last !== undefined && last.first + last.ids.length === block && last.ids.length < pieceBlocks) last.ids.push(id)
    else runs.push({ first: block, ids: [id] })
  }
  return runs
}

/** The content of the blocks, one after the other. */
async function readBlocks(
  volume: VolumeVault,
  locator: Locator,
  ids: readonly Buffer[],
  hashKey: Buffer,
  { crew }: Means,
): Promise<Uint8Array> {
  const places = await Promise.all(ids.map((id) => locator.find(id)))
  const reads = readsFor(places)
  const sealed = await Promise.all(
    reads.map(async ({ pack, offset, end }) => {
      const bytes = await volume.store.read(pack, { offset, length: end - offset })
      if (bytes === null) throw new Damaged(pack, 'it is not there')
      return ownBytes(bytes)
    }),
  )
  const blobs = places.map((place) => {
    const piece = reads.findIndex((read) => read.pack === place.pack && read.offset <= place.offset && place.offset < read.end)
    return { ...place, piece, at: place.offset - (reads[piece]?.offset ?? 0) }
  })
  const opened = await crew.do('open', openJob(blobs, sealed, hashKey))
  if ('data' in opened) return opened.data
  const { pack, id } = places[opened.damaged] ?? places[0]!
  throw new Damaged(pack, `block ${id.toString('hex')} is damaged`, id)
}

type Read = { readonly pack: string; readonly offset: number; end: number }

/** Few reads for many blobs: what lies close together is read at once. */
function readsFor(places: readonly Place[]): readonly Read[] {
  const reads: Read[] = []
  const inPack = [...places].sort((one, other) =>
    one.pack === other.pack ? one.offset - other.offset : one.pack < other.pack ? -1 : 1,
  )
  for (const { pack, offset, length } of inPack) {
    const last = reads.at(-1)
    if (last?.pack === pack && offset <= last.end + gapBytes) last.end = Math.max(last.end, offset + length)
    else reads.push({ pack, offset, end: offset + length })
  }
  return reads
}
