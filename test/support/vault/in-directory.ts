/** A real vault in a directory of the test's own, with what a controller would have put into it. */
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DirectoryStore } from '../../../src/adapters/vault/directory/store.ts'
import { vaultKeys } from '../../../src/adapters/vault/keys.ts'
import { makeVault, openVault, type Vault } from '../../../src/adapters/vault/vault.ts'
import { type BackupId, newId, type ProjectId, type VaultId, type VolumeId } from '../../../src/domain/ids.ts'
import type { BackupFacts, BackupRef } from '../../../src/ports/vault-mover.ts'
import { memorySource } from '../memory-disk.ts'

export type DirectoryVault = {
  readonly directory: string
  readonly recoveryKey: string
  readonly vault: Vault
  /** Writes a backup of what the disk holds. */
  readonly backUp: (disk: Buffer, named: Partial<BackupFacts>, volume?: VolumeId) => Promise<BackupRef>
  readonly close: () => Promise<void>
}

export async function vaultInDirectory(): Promise<DirectoryVault> {
  const directory = await mkdtemp(join(tmpdir(), 'vault-'))
  const store = await DirectoryStore.open(directory, 'test')
  const key = vaultKeys.newDataKey()
  const { recoveryKey, slot } = vaultKeys.newRecoveryKey(key)
  const access = { vault: newId<VaultId>(), key: key.toString('base64'), bytesPerSecond: null, parallel: 4 }
  const identity = { format: 1, vault: access.vault, name: 'main', createdAt: new Date().toISOString(), slots: [slot] } as const
  await makeVault(store, access, identity, directory)
  const vault = await openVault(store, access)
  const project = newId<ProjectId>()
  return {
    directory,
    recoveryKey,
    vault,
    close: () => store.close(),
    async backUp(disk, named, volume = newId<VolumeId>()) {
      const of = { volume, project, backup: newId<BackupId>() }
      await vault.writeBackup({ of, previous: null, facts: { ...plain, ...named } }, memorySource(disk))
      return of
    },
  }
}

const plain: BackupFacts = {
  name: 'nightly',
  description: null,
  createdAt: '2026-11-22T03:04:05.000Z',
  volumeName: 'data',
  projectName: 'blue',
  bootable: false,
  metadata: {},
  imageMetadata: null,
  consistency: 'crash',
  instance: null,
}
