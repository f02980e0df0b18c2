/** The backups of a volume, and the volumes of a vault. */
import { type BackupId, isUuid, type VolumeId } from '../../domain/ids.ts'
import type { FoundBackup } from '../../ports/vault-mover.ts'
import type { ObjectName, VaultStore } from '../../ports/vault-store.ts'
import { Damaged } from './format/damage.ts'
import { volumesPrefix } from './format/names.ts'
import { counts, type Manifest, type VolumeVault } from './volume.ts'

/** Whole backups of the volume, the oldest first; manifests that do not count; and what is wrong with those that cannot be read. */
export async function manifestsOf(
  volume: VolumeVault,
): Promise<{ manifests: Manifest[]; uncounted: BackupId[]; damaged: Damaged[] }> {
  const state = await volume.sweepState()
  const manifests: Manifest[] = []
  const uncounted: BackupId[] = []
  const damaged: Damaged[] = []
  for (const backup of await volume.backupsThere())
    try {
      const manifest = await volume.readManifest(backup)
      if (manifest === null) continue
      if (counts(manifest, state)) manifests.push(manifest)
      else uncounted.push(backup)
    } catch (error) {
      if (!(error instanceof Damaged)) throw error
      damaged.push(error)
    }
  manifests.sort((one, other) => (one.writtenAt < other.writtenAt ? -1 : 1))
  return { manifests, uncounted, damaged }
}

export const foundBackup = ({ of, rootHash, sizeBytes, storedBytes, facts }: Manifest): FoundBackup => ({
  ...of,
  rootHash,
  sizeBytes,
  storedBytes,
  facts,
})

export async function volumesIn(store: VaultStore): Promise<readonly VolumeId[]> {
  const volumes = new Set<VolumeId>()
  for await (const { name } of store.list(volumesPrefix)) volumes.add(volumeIn(name))
  return [...volumes].filter(isUuid)
}

export const volumeIn = (name: ObjectName): VolumeId => (name.split('/')[1] ?? '') as VolumeId
