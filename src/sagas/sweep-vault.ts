/**
 * Looks through what a vault holds of one volume, in the background, giving way to backups: what nothing refers to at this mark
 * and did not at the one before is removed. As long as something was marked for the first time, another sweep is due later.
 *
 *   step     do                            taken back by
 *   sweep    the vault's own two marks     nothing: what it removed nothing referred to
 *   noted    (commit) whether another one is due
 */
import { sql } from 'kysely'
import type { HostId, VaultId, VolumeId } from '../domain/ids.ts'
import { noUndo, saga } from './parts/define.ts'
import { accessOf } from './parts/vault.ts'

export type SweepVaultParams = {
  readonly vault: VaultId
  readonly volume: VolumeId
  readonly host: HostId
  /** Seconds until the next mark. */
  readonly againAfter: number
}

export const sweepVault = saga<SweepVaultParams>('sweep-vault')
  .step('sweep', {
    do: async ({ params, world, signal }) =>
      world.mover(params.host).sweepVolume(await accessOf(world, params.vault), params.volume, signal),
    undo: noUndo('what it removed nothing referred to, and what it marked is looked at again'),
  })
  .commit('noted', async ({ params: { vault, volume, againAfter }, done }, tx) => {
    if (done.sweep.markedObjects === 0) {
      await tx.deleteFrom('sweeps').where('vault_id', '=', vault).where('volume_id', '=', volume).execute()
    } else {
      await tx
        .updateTable('sweeps')
        .set({ due_at: sql<Date>`clock_timestamp() + make_interval(secs => ${againAfter})` })
        .where('vault_id', '=', vault)
        .where('volume_id', '=', volume)
        .execute()
    }
  })
  .build(({ params, done }) => ({ vault: params.vault, volume: params.volume, ...done.sweep }))
