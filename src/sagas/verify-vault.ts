/**
 * Reads everything of a vault back and proves it. Backups that cannot be restored whole say so afterwards, and are not built
 * upon any more.
 *
 *   step     do                               taken back by
 *   verify   volume by volume                 nothing: it only reads
 *   noted    (commit) what was found of each backup
 */
import type { BackupId, Bytes, HostId, OperationId, VaultId, VolumeId } from '../domain/ids.ts'
import type { Tx } from '../ports/tables.ts'
import type { Damage } from '../ports/vault-mover.ts'
import { type Context, noUndo, saga } from './parts/define.ts'
import { accessOf, progressOf } from './parts/vault.ts'

export type VerifyVaultParams = {
  readonly vault: VaultId
  readonly host: HostId
  /** Those that have backups in it. */
  readonly volumes: readonly VolumeId[]
}

type Found = { readonly backups: number; readonly readBytes: Bytes; readonly damage: readonly Damage[] }

export const verifyVault = saga<VerifyVaultParams>('verify-vault')
  .step('verify', { do: verifyAll, undo: noUndo('it only reads') })
  .commit('noted', async ({ params, done, operation }, tx) => await note(tx, params, done.verify, operation))
  .build(({ params, done }) => ({ vault: params.vault, ...done.verify, damaged: done.noted }))

async function verifyAll({ params, world, signal, progress }: Context<VerifyVaultParams>): Promise<Found> {
  const report = progressOf(world.clock, progress)
  let found: Found = { backups: 0, readBytes: 0, damage: [] }
  for (const volume of params.volumes) {
    const { readBytes: before } = found
    const access = await accessOf(world, params.vault)
    const told: typeof report = (news) =>
      report({ ...news, doneBytes: before + news.doneBytes, totalBytes: before + news.totalBytes })
    const one = await world.mover(params.host).verify(access, volume, told, signal)
    found = {
      backups: found.backups + one.backups,
      readBytes: before + one.readBytes,
      damage: [...found.damage, ...one.damage],
    }
  }
  return found
}

/** Only what was there when it began was looked at. Answers the damaged backups. */
async function note(tx: Tx, { vault, volumes }: VerifyVaultParams, { damage }: Found, by: OperationId): Promise<BackupId[]> {
  if (volumes.length === 0) return []
  const said = new Map<BackupId, string>()
  for (const { object, what, backups } of damage)
    for (const { backup } of backups) if (!said.has(backup)) said.set(backup, `${object}: ${what}`)
  const begun = tx.selectFrom('operations').select('created_at').where('id', '=', by)
  const looked = await tx
    .updateTable('backups')
    .set({ damage: null, verified_at: new Date() })
    .where('vault_id', '=', vault)
    .where('volume_id', 'in', volumes)
    .where('state', '=', 'available')
    .where('created_at', '<', begun)
    .returning('id')
    .execute()
  const damaged = looked.map(({ id }) => id).filter((id) => said.has(id))
  for (const id of damaged)
    await tx
      .updateTable('backups')
      .set({ damage: said.get(id) ?? null })
      .where('id', '=', id)
      .execute()
  return damaged
}
