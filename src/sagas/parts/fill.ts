/** A blank new layer gets its content from a backup, whatever kind of storage either is on. It may be used only when that is whole. */
import type { Bytes, HostId, LayerId, PoolId, VaultId } from '../../domain/ids.ts'
import type { BackupRef } from '../../ports/vault-mover.ts'
import type { Context } from './define.ts'
import { accessOf, progressOf } from './vault.ts'

export type Fill = {
  readonly vault: VaultId
  /** Where the data is moved: it reaches the pool and the vault. */
  readonly host: HostId
  readonly of: BackupRef
  readonly rootHash: string
}

type Filled = { readonly layer: LayerId; readonly pool: PoolId; readonly sizeBytes: Bytes; readonly fill: Fill }

export async function fillLayer(
  { world, signal, progress }: Pick<Context<unknown>, 'world' | 'signal' | 'progress'>,
  { fill: { vault, host, of, rootHash }, ...target }: Filled,
): Promise<{ writtenBytes: Bytes }> {
  const access = await accessOf(world, vault)
  return world.mover(host).restoreBackup(access, { of, rootHash, target }, progressOf(world.clock, progress), signal)
}
