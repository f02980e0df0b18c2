/** What goes at once: what attempts have left, and manifests. The rest is the sweep's. */
import type { BackupRef } from '../../ports/vault-mover.ts'
import { Damaged } from './format/damage.ts'
import { attemptIn, orderOf, writerIn } from './format/names.ts'
import type { VolumeVault } from './volume.ts'

/**
 * Removes all that attempts to write the backup have made, but leaves to the sweep what another backup may share. The markers go
 * first: an attempt that is still running finds its own gone, and does not commit. Then the manifest, so that nothing is listed
 * whose packs go.
 */
export async function discardBackup(volume: VolumeVault, of: BackupRef): Promise<void> {
  const { store, names } = volume
  const ofBackup = async (prefix: string) => (await volume.namesUnder(prefix)).filter((name) => writerIn(name) === of.backup)
  for (const name of await ofBackup(names.markers)) await store.remove(name)
  await store.remove(names.manifest(of.backup))
  const left = [...(await ofBackup(names.indexes)), ...(await ofBackup(names.packs))]
  if (left.length === 0) return
  const highest = await highestOrder(volume)
  for (const name of left) if (orderOf(attemptIn(name)) >= highest) await store.remove(name)
}

/** Of all backups of the volume that are there or being made. What is of this order or above, nobody shares. */
async function highestOrder(volume: VolumeVault): Promise<number> {
  let highest = 0
  const meet = (attempt: string): void => {
    const order = orderOf(attempt)
    highest = Math.max(highest, Number.isNaN(order) ? Number.POSITIVE_INFINITY : order)
  }
  for (const name of await volume.markers()) meet(attemptIn(name))
  for (const backup of await volume.backupsThere())
    try {
      const manifest = await volume.readManifest(backup)
      if (manifest !== null) meet(manifest.attempt)
    } catch (error) {
      if (!(error instanceof Damaged)) throw error
      highest = Number.POSITIVE_INFINITY
    }
  return highest
}

/** What other backups do not need goes with later sweeps. */
export async function deleteBackup(volume: VolumeVault, of: BackupRef): Promise<void> {
  await volume.store.remove(volume.names.manifest(of.backup))
}
