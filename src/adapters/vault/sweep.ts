/**
 * Removes what no backup of a volume needs. An object goes when two sweeps, one after the other, have found it unneeded.
 *
 *   no marker of a running backup · generation + 1, durably · still no marker · packs listed, then manifests · manifests known ·
 *   needed packs · what was marked before and is unneeded again goes · index objects merged · what is unneeded now is marked
 *
 * A backup begins with its marker and then reads the generation. One that began before the generation moved is seen here, or
 * sees that it moved and does not commit; one that begins later shares only pages of listed backups, which are kept.
 */
import { randomUUID } from 'node:crypto'
import type { BackupId } from '../../domain/ids.ts'
import { refuse } from '../../domain/refusals.ts'
import type { SweepOutcome } from '../../ports/vault-mover.ts'
import type { ObjectName } from '../../ports/vault-store.ts'
import { Damaged } from './format/damage.ts'
import { newAttempt, stemIn, stemOf, writerIn } from './format/names.ts'
import { openPack } from './format/pack.ts'
import { Locator, openIndexes } from './index/locator.ts'
import { mergedIndex } from './index/merge.ts'
import type { IndexObject } from './index/object.ts'
import { SessionIndex } from './index/session.ts'
import { manifestsOf } from './list.ts'
import { neededPacks } from './mark.ts'
import type { SweepState, VolumeVault } from './volume.ts'

/** After a state that could not be read: higher than any that has been. */
const farAhead = 1_000_000

export async function sweepVolume(volume: VolumeVault, signal?: AbortSignal): Promise<SweepOutcome> {
  await refuseWhileWritten(volume)
  const before = await volume.sweepState()
  const generation = await nextGeneration(volume, before)
  await volume.writeSweepState({ ...before, generation })
  await refuseWhileWritten(volume)

  const sizes = new Map<ObjectName, number>()
  for await (const { name, sizeBytes } of volume.store.list(volume.names.packs)) sizes.set(name, sizeBytes)
  for await (const { name, sizeBytes } of volume.store.list(volume.names.indexes)) sizes.set(name, sizeBytes)
  const packs = [...sizes.keys()].filter((name) => name.startsWith(`${volume.names.packs}/`))
  const indexes = [...sizes.keys()].filter((name) => name.startsWith(`${volume.names.indexes}/`))
  const { manifests, foreign, lacking, damaged } = await manifestsOf(volume)
  // What a backup needs that is not what it was is not known, so nothing may go.
  const [unreadable] = damaged
  if (unreadable !== undefined) throw unreadable
  for (const { of } of lacking) throw new Damaged(volume.names.manifest(of.backup), 'packs that it names are not there')
  const state: SweepState = { ...before, generation, since: generation, known: manifests.map(({ of }) => of.backup) }
  await volume.writeSweepState(state)
  for (const { of } of foreign) await volume.store.remove(volume.names.manifest(of.backup))

  const locator = new Locator(volume.store, volume.keys, volume.names)
  const needed = await neededPacks(volume, locator, manifests, packs, signal)
  const marked = new Set(before.marked)
  const unneeded = packs.filter((name) => !needed.has(name))
  const kept = packs.filter((name) => needed.has(name) || !marked.has(name))
  const neededIndexes = await tidyIndexes(volume, kept, needed, signal)
  const unneededIndexes = indexes.filter((name) => !neededIndexes.has(name))

  const outcome = { removedObjects: 0, removedBytes: 0, markedObjects: 0 }
  const nowMarked: ObjectName[] = []
  for (const name of [...unneeded, ...unneededIndexes])
    if (marked.has(name)) {
      signal?.throwIfAborted()
      await volume.store.remove(name)
      outcome.removedObjects++
      outcome.removedBytes += sizes.get(name) ?? 0
    } else nowMarked.push(name)
  await volume.writeSweepState({ ...state, marked: nowMarked })
  return { ...outcome, markedObjects: nowMarked.length }
}

/** The marker of an attempt that has ended as a whole backup is no more than a leftover. */
async function refuseWhileWritten(volume: VolumeVault): Promise<void> {
  for (const marker of await volume.markers()) {
    const backup = writerIn(marker) as BackupId
    const manifest = await volume.find(backup).catch(() => null)
    if (manifest === null || volume.names.marker(backup, manifest.attempt) !== marker)
      throw refuse.volumeBusy({ operation: 'backup' })
    await volume.store.remove(marker)
  }
}

async function nextGeneration(volume: VolumeVault, before: SweepState): Promise<number> {
  if (before.generation >= 0) return before.generation + 1
  const { manifests } = await manifestsOf(volume)
  return manifests.reduce((most, { generation }) => Math.max(most, generation), 0) + farAhead
}

/**
 * Makes one index object of many, or of those that speak of packs that have gone; makes them anew from the footers of the packs
 * where one is damaged. The names of those that are needed from now on.
 */
async function tidyIndexes(
  volume: VolumeVault,
  packs: readonly ObjectName[],
  needed: ReadonlySet<ObjectName>,
  signal: AbortSignal | undefined,
): Promise<ReadonlySet<ObjectName>> {
  const { store, keys, names } = volume
  const { objects, all, damaged } = await openIndexes(store, keys, names)
  const stems = new Set(packs.map(stemIn))
  const useful = objects.filter((object) => stemsOf(object).some((stem) => stems.has(stem)))
  const spoken = new Set(objects.flatMap(stemsOf))
  const areWhole = damaged.length === 0 && [...needed].every((name) => spoken.has(stemIn(name)))
  if (!(areWhole && (await areReadable(volume, useful, signal)))) return rebuilt(volume, packs, all, signal)
  const gone = useful.flatMap(stemsOf).filter((stem) => !stems.has(stem)).length
  if (useful.length <= volume.measures.mostIndexes && gone <= stems.size) return new Set(useful.map(({ name }) => name))
  const name = names.index(stemOf(randomUUID(), newAttempt(0), 0))
  await store.put(name, mergedIndex(store, keys, useful, stems))
  return new Set([name])
}

async function areReadable(
  volume: VolumeVault,
  objects: readonly IndexObject[],
  signal: AbortSignal | undefined,
): Promise<boolean> {
  try {
    for (const object of objects)
      for (let chunk = 0; chunk < object.chunks; chunk++) {
        signal?.throwIfAborted()
        await object.read(volume.store, chunk)
      }
    return true
  } catch (error) {
    if (error instanceof Damaged) return false
    throw error
  }
}

const stemsOf = (object: IndexObject): string[] => Array.from({ length: object.packs }, (_, number) => object.packAt(number))

/** New index objects of all that the packs say of themselves, in place of all there are. */
async function rebuilt(
  volume: VolumeVault,
  packs: readonly ObjectName[],
  replaced: readonly ObjectName[],
  signal: AbortSignal | undefined,
): Promise<ReadonlySet<ObjectName>> {
  const { store, keys, names, measures } = volume
  const index = new SessionIndex(
    { store, keys, names, measures, writer: randomUUID(), attempt: newAttempt(0) },
    replaced.map(stemIn),
  )
  for (const name of packs) {
    signal?.throwIfAborted()
    const pack = await openPack(store, name, keys)
    for (const entry of pack?.entries ?? []) index.add(entry, stemIn(name))
    await index.keepUp()
  }
  await index.finish()
  return new Set(index.written)
}
