/**
 * A vault read with nothing but its directory and a recovery key: no controller, no database, no agent. Nothing is written
 * into it.
 */
import { availableParallelism } from 'node:os'
import { refuse } from '../../domain/refusals.ts'
import type { BackupRef, FoundBackup, Report, VaultIdentity } from '../../ports/vault-mover.ts'
import { newFile } from '../disk-files/new-file.ts'
import { Qcow2File } from '../disk-files/qcow2.ts'
import { rawFile } from '../disk-files/raw.ts'
import { DirectoryStore } from './directory/store.ts'
import { Damaged } from './format/damage.ts'
import { readIdentity } from './identity.ts'
import { vaultKeys } from './keys.ts'
import { openVault } from './vault.ts'
import { threadCrew } from './workers/threads.ts'

export const diskFormats = ['qcow2', 'raw'] as const
export type DiskFormat = (typeof diskFormats)[number]

export type OpenedVault = {
  readonly identity: Pick<VaultIdentity, 'vault' | 'name' | 'createdAt'>
  /** All whole backups in it. */
  list(): Promise<readonly FoundBackup[]>
  /**
   * Into a new file, which is there under its name only when every block was proved. Refused with `backupDamaged`; rejected
   * with EEXIST where something has the name.
   */
  extract(backup: FoundBackup, file: string, format: DiskFormat, report?: Report, signal?: AbortSignal): Promise<void>
  close(): Promise<void>
}

/** Blocks under way at once. */
const parallel = 16

/** Refused: `vaultUnreachable`, `recoveryKeyRefused`, `vaultDamaged` when what the keys are kept in cannot be read. */
export async function openWithRecoveryKey(directory: string, recoveryKey: string): Promise<OpenedVault> {
  const store = await DirectoryStore.open(directory, directory, { tidies: false })
  try {
    const identity = await identityIn(store, directory)
    const key = vaultKeys.recover(recoveryKey, identity.slots).toString('base64')
    const crew = threadCrew(availableParallelism())
    const vault = await openVault(store, { vault: identity.vault, key, bytesPerSecond: null, parallel }, crew)
    return {
      identity,
      list: () => vault.listBackups(),
      extract: (backup, file, format, report, signal) =>
        newFile(file, async (handle) => {
          const { sizeBytes } = backup
          const target = format === 'raw' ? await rawFile(handle, sizeBytes) : new Qcow2File(handle, sizeBytes)
          await vault.restoreBackup({ of: refOf(backup), rootHash: backup.rootHash }, target, report, signal)
        }),
      close: async () => {
        await crew.close()
        await store.close()
      },
    }
  } catch (error) {
    await store.close()
    throw error
  }
}

const refOf = ({ volume, backup, project }: BackupRef): BackupRef => ({ volume, backup, project })

async function identityIn(store: DirectoryStore, directory: string): Promise<VaultIdentity> {
  const identity = await readIdentity(store).catch((error: unknown) => {
    if (error instanceof Damaged) throw refuse.vaultDamaged({ object: error.object })
    throw error
  })
  if (identity === null) throw refuse.vaultUnreachable({ vault: directory })
  return identity
}
