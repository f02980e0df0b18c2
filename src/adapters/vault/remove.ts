/** What goes at once: what attempts have left, and manifests. The rest is the sweep's. */
import type { BackupId } from '../../domain/ids.ts'
import type { BackupRef } from '../../ports/vault-mover.ts'
import { Damaged } from './format/damage.ts'
import { writerIn } from './format/names.ts'
import type { VolumeVault } from './volume.ts'

/**
 * Removes all that attempts to write the backup have made, but leaves to the sweep what another backup may have taken over. The
 * markers go first: an attempt that is still running finds its own gone, and does not commit. Then the manifest, so that nothing
 * is listed whose packs go.
 */
export async function discardBackup(volume: VolumeVault, of: BackupRef): Promise<void> {
  const { store, names } = volume
  const ofBackup = async (prefix: string) => (await volume.namesUnder(prefix)).filter((name) => writerIn(name) === of.backup)
  const isShared = await mayBeShared(volume, of.backup)
  for (const name of await ofBackup(names.markers)) await store.remove(name)
  await store.remove(names.manifest(of.backup))
  if (isShared) return
  for (const name of [...(await ofBackup(names.indexes)), ...(await ofBackup(names.packs))]) await store.remove(name)
}

/** Whether some other backup may need what this one wrote: it was whole once, and not every other one began without it. */
async function mayBeShared(volume: VolumeVault, backup: BackupId): Promise<boolean> {
  const lenders = new Map<BackupId, BackupId | null>()
  const unreadable = new Set<BackupId>()
  for (const there of await volume.backupsThere())
    try {
      const manifest = await volume.find(there)
      if (manifest !== null) lenders.set(there, manifest.shares)
    } catch (error) {
      if (!(error instanceof Damaged)) throw error
      unreadable.add(there)
    }
  if (!lenders.has(backup) && !unreadable.has(backup)) return false
  if (unreadable.size > 0) return true
  if ((await volume.markers()).some((name) => writerIn(name) !== backup)) return true
  const leadsHere = (from: BackupId | null): boolean =>
    from !== null && (from === backup || !lenders.has(from) || leadsHere(lenders.get(from) ?? null))
  return [...lenders].some(([other, lender]) => other !== backup && leadsHere(lender))
}

/** What other backups do not need goes with later sweeps. */
export async function deleteBackup(volume: VolumeVault, of: BackupRef): Promise<void> {
  await volume.store.remove(volume.names.manifest(of.backup))
}
