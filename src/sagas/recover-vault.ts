/**
 * `comeback recover --from-vault`: makes the list of backups agree with what a vault says of itself, after the database was
 * lost, an older copy of it was restored, or a vault was taken in. Ids stay as they are. A project that is not known comes
 * back under its id, so that its backups have an owner. What an operation is busy with is left alone.
 *
 *   step     do                                  taken back by
 *   list     reads all manifests                 nothing: it only reads
 *   apply    (commit) rows of backups and projects
 */
import type { HostId, VaultId } from '../domain/ids.ts'
import { noUndo, saga } from './parts/define.ts'
import { applyFound, type RecoveredBackups } from './parts/recover-backups.ts'
import { accessOf } from './parts/vault.ts'

export type RecoverVaultParams = { readonly vault: VaultId; readonly host: HostId }

export const recoverVault = saga<RecoverVaultParams>('recover-vault')
  .step('list', {
    do: async ({ params, world }) => world.mover(params.host).listBackups(await accessOf(world, params.vault)),
    undo: noUndo('it only reads'),
  })
  .commit('apply', async ({ params, done, operation }, tx) => await applyFound(tx, params.vault, done.list, operation))
  .build(({ done }): RecoveredBackups => done.apply)
