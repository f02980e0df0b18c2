import type { ObjectName } from '../../ports/vault-store.ts'
import { Turns } from './flow.ts'
import { openBlob } from './format/blob.ts'
import { Damaged } from './format/damage.ts'
import type { Entry } from './format/entry.ts'
import { openPack, type Pack } from './format/pack.ts'
import type { Meter, Throttle } from './pace.ts'
import type { VolumeVault } from './volume.ts'
import { openJob } from './workers/open-blocks.ts'
import type { Means } from './write.ts'

const readAtOnce = 1024 * 1024

/** Reads all of a pack. What is wrong with it: nothing, some of its blobs, or all of it. */
export async function provePack(
  volume: VolumeVault,
  name: ObjectName,
  means: Means,
  { meter, throttle }: { readonly meter: Meter; readonly throttle: Throttle },
): Promise<readonly Damaged[]> {
  let pack: Pack | null
  try {
    pack = await openPack(volume.store, name, volume.keys)
  } catch (error) {
    if (!(error instanceof Damaged)) throw error
    return [error]
  }
  if (pack === null) return []
  const { key, project, entries } = pack
  const hashKey = volume.keys.ofHashes(project)
  const turns = new Turns(means.parallel)
  const proveSome = async (some: readonly Entry[]): Promise<readonly Damaged[]> => {
    means.signal?.throwIfAborted()
    const from = some[0]?.offset ?? 0
    const length = some.reduce((sum, entry) => sum + entry.length, 0)
    await throttle.take(length, means.signal)
    const bytes = await volume.store.read(name, { offset: from, length })
    if (bytes === null) return [new Damaged(name, 'it is not there')]
    meter.add(length)
    return proveBlobs(name, bytes, from, some, key, hashKey, means)
  }
  return (await Promise.all(groups(entries).map((some) => turns.take(() => proveSome(some))))).flat()
}

/** Neighbours of one kind, of about a MiB. */
function groups(entries: readonly Entry[]): readonly (readonly Entry[])[] {
  const all: Entry[][] = []
  let bytes = 0
  for (const entry of entries) {
    const last = all.at(-1)
    const isNext = last !== undefined && bytes < readAtOnce && (last[0]?.level === 0) === (entry.level === 0)
    if (isNext) last.push(entry)
    else all.push([entry])
    bytes = isNext ? bytes + entry.length : entry.length
  }
  return all
}

async function proveBlobs(
  name: ObjectName,
  bytes: Buffer,
  from: number,
  entries: readonly Entry[],
  packKey: Buffer,
  hashKey: Buffer,
  { crew }: Means,
): Promise<readonly Damaged[]> {
  const areBlocks = entries[0]?.level === 0
  if (areBlocks) {
    const blobs = entries.map((entry) => ({ ...entry, packKey, piece: 0, at: entry.offset - from }))
    const opened = await crew.do('open', openJob(blobs, [new Uint8Array(bytes)], hashKey))
    if ('data' in opened) return []
  }
  return entries
    .filter(
      (entry) =>
        openBlob(packKey, hashKey, entry, bytes.subarray(entry.offset - from, entry.offset - from + entry.length)) === null,
    )
    .map(({ id, level }) => new Damaged(name, `a ${level === 0 ? 'block' : 'page'} in it is damaged`, id))
}
