/** A vault and a backup in it, as rows alone: for tests of who may see what. */
import { type BackupId, newId, type VaultId, type VolumeId } from '../../src/domain/ids.ts'
import type { Db } from '../../src/ports/tables.ts'
import type { BackupFacts } from '../../src/ports/vault-mover.ts'
import type { TestUser } from './native-server.ts'

export async function availableBackup(db: Db, owner: TestUser, volume: VolumeId, name = 'kept') {
  const vault = newId<VaultId>()
  const backup = newId<BackupId>()
  const place = { kind: 'directory', directory: `/srv/${vault}` }
  const sealed_key = Buffer.alloc(60)
  await db
    .insertInto('vaults')
    .values({ id: vault, name: vault, kind: 'directory', place: JSON.stringify(place), sealed_key, bytes_per_second: null })
    .execute()
  await db
    .insertInto('backups')
    .values({
      id: backup,
      name,
      description: null,
      project_id: owner.caller.project,
      user_id: owner.caller.user,
      volume_id: volume,
      vault_id: vault,
      pool_id: null,
      state: 'available',
      metadata: '{}',
      facts: JSON.stringify(factsOf(name)),
      size_bytes: 1024 ** 3,
      stored_bytes: 65_536,
      read_bytes: 131_072,
      root_hash: '00'.repeat(32),
      snapshot_id: null,
      consistency: 'crash',
      operation_id: newId(),
    })
    .execute()
  return { vault, backup }
}

const factsOf = (name: string): BackupFacts => ({
  name,
  description: null,
  createdAt: new Date().toISOString(),
  volumeName: 'was-called',
  projectName: 'blue',
  bootable: false,
  metadata: {},
  imageMetadata: null,
  consistency: 'crash',
  instance: null,
})
