/**
 * Reads everything back: every manifest, every blob of every pack, every chunk of every index object; then every backup's tree,
 * for what it needs of that. What is damaged is named, with the backups that need it.
 */
import type { BackupId, Bytes, ProjectId } from '../../domain/ids.ts'
import type { BackupRef, Damage } from '../../ports/vault-mover.ts'
import type { ObjectName } from '../../ports/vault-store.ts'
import { Damaged } from './format/damage.ts'
import { writerIn } from './format/names.ts'
import { openIndexes } from './index/locator.ts'
import { manifestsOf } from './list.ts'
import type { Meter, Throttle } from './pace.ts'
import { provePack } from './prove-pack.ts'
import { rootHashOf } from './root-hash.ts'
import { type Broken, touches } from './touches.ts'
import type { Manifest, VolumeVault } from './volume.ts'
import type { Means } from './write.ts'

export type Verified = { readonly backups: number; readonly readBytes: Bytes; readonly damage: readonly Damage[] }

export async function verifyVolume(
  volume: VolumeVault,
  means: Means,
  pace: { meter: Meter; throttle: Throttle },
): Promise<Verified> {
  const { manifests, lacking, damaged } = await manifestsOf(volume)
  const found: Damaged[] = []
  let readBytes = 0
  for await (const { name, sizeBytes } of volume.store.list(volume.names.packs)) {
    means.signal?.throwIfAborted()
    pace.meter.expect(sizeBytes)
    found.push(...(await provePack(volume, name, means, pace)))
    readBytes += sizeBytes
  }
  const indexes = await damagedIndexes(volume, means)
  readBytes += indexes.readBytes
  const broken: Broken = {
    objects: new Set(found.filter(({ id }) => id === null).map(({ object }) => object)),
    ids: new Map(found.flatMap(({ id, object }) => (id === null ? [] : [[id.toString('hex'), object] as const]))),
  }
  const needs = await touches(volume, [...manifests, ...lacking], broken, means.signal)
  const said = new Map<ObjectName, string>()
  for (const { object, what } of [...found, ...needs.missing]) if (!said.has(object)) said.set(object, what)
  const damage: Damage[] = [...said].map(([object, what]) => ({ object, what, backups: needs.of(object) }))
  for (const { object, what } of damaged) damage.push({ object, what, backups: [refOf(volume, object, manifests)] })
  for (const manifest of manifests) damage.push(...untrue(volume, manifest))
  return { backups: manifests.length, readBytes, damage: [...damage, ...indexes.damage, ...(await damagedState(volume))] }
}

/** Blobs are found without an index object too, and the next sweep makes it anew: no backup is lost with it. */
async function damagedIndexes(volume: VolumeVault, { signal }: Means): Promise<{ damage: Damage[]; readBytes: Bytes }> {
  const { objects, damaged } = await openIndexes(volume.store, volume.keys, volume.names)
  const found = [...damaged]
  let readBytes = 0
  for (const object of objects)
    for (let chunk = 0; chunk < object.chunks; chunk++)
      try {
        signal?.throwIfAborted()
        readBytes += (await object.read(volume.store, chunk))?.length ?? 0
      } catch (error) {
        if (!(error instanceof Damaged)) throw error
        found.push(error)
      }
  const damage = found.map(({ object, what }) => ({
    object,
    what: `${what}; restores read the footers of packs instead, and the next sweep makes it anew`,
    backups: [],
  }))
  return { damage, readBytes }
}

/** A manifest that cannot be read does not say whose it is. */
function refOf(volume: VolumeVault, name: ObjectName, manifests: readonly Manifest[]): BackupRef {
  const project = manifests[0]?.of.project ?? ('' as ProjectId)
  return { volume: volume.volume, backup: writerIn(name) as BackupId, project }
}

function untrue(volume: VolumeVault, { of, root, rootHash, sizeBytes }: Manifest): Damage[] {
  const isTrue = rootHashOf(volume.keys.ofHashes(of.project), Buffer.from(root, 'hex'), sizeBytes) === rootHash
  return isTrue ? [] : [{ object: volume.names.manifest(of.backup), what: 'its root is not what it says', backups: [of] }]
}

async function damagedState(volume: VolumeVault): Promise<Damage[]> {
  if ((await volume.sweepState()).generation >= 0) return []
  return [{ object: volume.names.sweep, what: 'its content is damaged; the next sweep makes it anew', backups: [] }]
}
