/** The backups of a volume, and the volumes of a vault. */
import { isUuid, type VolumeId } from '../../domain/ids.ts'
import type { FoundBackup } from '../../ports/vault-mover.ts'
import type { ObjectName, VaultStore } from '../../ports/vault-store.ts'
import { Damaged } from './format/damage.ts'
import { volumesPrefix } from './format/names.ts'
import type { Manifest, VolumeVault } from './volume.ts'

/** Whole backups of the volume, the oldest first; those that are not; and what is wrong with manifests that cannot be read. */
export async function manifestsOf(
  volume: VolumeVault,
): Promise<{ manifests: Manifest[]; foreign: Manifest[]; lacking: Manifest[]; damaged: Damaged[] }> {
  const judge = await volume.wholeness()
  const found = { whole: [] as Manifest[], foreign: [] as Manifest[], lacking: [] as Manifest[] }
  const damaged: Damaged[] = []
  for (const backup of await volume.backupsThere())
    try {
      const manifest = await volume.readManifest(backup)
      if (manifest !== null) found[judge(manifest)].push(manifest)
    } catch (error) {
      if (!(error instanceof Damaged)) throw error
      damaged.push(error)
    }
  found.whole.sort((one, other) => one.writtenAt.localeCompare(other.writtenAt))
  return { manifests: found.whole, foreign: found.foreign, lacking: found.lacking, damaged }
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
