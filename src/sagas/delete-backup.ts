/**
 * Deletes a backup. Its manifest goes, and with that it can be restored no more; what only it needed leaves the vault with later
 * sweeps, so that other backups, and ones being written, stay whole.
 *
 *   step            do                                   taken back by
 *   removeManifest  the manifest, durably                cannot be: proves that it is still there, or goes on
 *   deleteRow       (commit) the row; its point goes; a sweep is due
 *   describeLayers  the storage's own record of the point
 */
import type { BackupId, HostId, ProjectId, VaultId, VolumeId } from '../domain/ids.ts'
import { refuse } from '../domain/refusals.ts'
import { describeLayers } from './parts/catalogue.ts'
import { saga } from './parts/define.ts'
import { releasePoints } from './parts/kept-points.ts'
import { sweepLater } from './parts/sweeps.ts'
import { accessOf } from './parts/vault.ts'

export type DeleteBackupParams = {
  readonly backup: BackupId
  readonly volume: VolumeId
  readonly project: ProjectId
  readonly vault: VaultId
  readonly host: HostId
  /** `error`: it never became whole; there may be leavings of its attempts. */
  readonly was: 'available' | 'error'
}

const refOf = ({ volume, backup, project }: DeleteBackupParams) => ({ volume, backup, project })

export const deleteBackup = saga<DeleteBackupParams>('delete-backup')
  .step('removeManifest', {
    do: async ({ params, world }) => {
      const mover = world.mover(params.host)
      const access = await accessOf(world, params.vault)
      if (params.was === 'error') await mover.discardBackup(access, refOf(params))
      else await mover.deleteBackup(access, refOf(params))
    },
    undo: async ({ params, world }) => {
      if (params.was === 'error') return
      const isThere = await world.mover(params.host).hasBackup(await accessOf(world, params.vault), refOf(params))
      if (!isThere) throw refuse.hostFailure({ what: `the manifest of backup ${params.backup} is gone already` })
    },
    pointOfNoReturn: true,
  })
  .commit('deleteRow', async ({ params }, tx) => {
    const layers = await releasePoints(tx, [params.backup])
    const now = new Date()
    await tx
      .updateTable('backups')
      .set({ state: 'deleted', deleted_at: now, updated_at: now })
      .where('id', '=', params.backup)
      .execute()
    await sweepLater(tx, params.vault, params.volume)
    return layers
  })
  .finish('describeLayers', ({ done, world }) => describeLayers(world, done.deleteRow))
  .afterUndo(async ({ params }, tx) => {
    await tx.updateTable('backups').set({ state: params.was, updated_at: new Date() }).where('id', '=', params.backup).execute()
  })
  .build(({ params }) => ({ backup: params.backup }))
