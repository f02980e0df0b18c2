/** Rows of vaults. Changes of which one is the default go on one after another. */
import { sql } from 'kysely'
import type { VaultId } from '../domain/ids.ts'
import { refuse } from '../domain/refusals.ts'
import type { Secrets } from '../ports/secrets.ts'
import type { Db, Tx } from '../ports/tables.ts'
import { keyContext } from '../sagas/parts/vault.ts'
import type { VaultCommands, VaultRequest } from './commands.ts'

const oneAfterAnother = (tx: Tx) => sql`select pg_advisory_xact_lock(hashtextextended('vaults', 0))`.execute(tx)

async function requireNameFree(tx: Tx, vault: VaultId, name: string): Promise<void> {
  const same = await tx.selectFrom('vaults').select('id').where('name', '=', name).where('id', '<>', vault).executeTakeFirst()
  if (same) throw refuse.nameTaken({ what: 'Vault', name })
}

const noDefault = (tx: Tx) => tx.updateTable('vaults').set({ is_default: false }).where('is_default', '=', true).execute()

/** One that is known already is given its key and place anew. Answers when it was made. */
export async function insertVaultRow(
  { db, secrets }: { readonly db: Db; readonly secrets: Secrets },
  vault: VaultId,
  { name, directory, bytesPerSecond, parallel }: VaultRequest,
  key: Buffer,
): Promise<Date> {
  return await db.transaction().execute(async (tx) => {
    await oneAfterAnother(tx)
    await requireNameFree(tx, vault, name)
    const row = {
      name,
      kind: 'directory' as const,
      place: JSON.stringify({ kind: 'directory', directory }),
      sealed_key: secrets.seal(key, keyContext(vault)),
      bytes_per_second: bytesPerSecond,
      parallel,
    }
    const { created_at } = await tx
      .insertInto('vaults')
      .values({ id: vault, ...row })
      .onConflict((known) => known.column('id').doUpdateSet(row))
      .returning('created_at')
      .executeTakeFirstOrThrow()
    return created_at
  })
}

/** The one that hosts use of which nobody says otherwise: the first one in any case. */
export async function settleDefault(db: Db, vault: VaultId, asked: boolean): Promise<void> {
  await db.transaction().execute(async (tx) => {
    await oneAfterAnother(tx)
    const former = await tx.selectFrom('vaults').select('id').where('is_default', '=', true).executeTakeFirst()
    if (former && !asked) return
    await noDefault(tx)
    await tx.updateTable('vaults').set({ is_default: true }).where('id', '=', vault).execute()
  })
}

/** It was not made after all. */
export const forgetVaultRow = async (db: Db, vault: VaultId): Promise<void> =>
  void (await db.deleteFrom('vaults').where('id', '=', vault).execute())

export async function changeVaultRow(
  db: Db,
  id: VaultId,
  { name, bytesPerSecond, parallel, isDefault }: Parameters<VaultCommands['changeVault']>[2],
): Promise<void> {
  await db.transaction().execute(async (tx) => {
    await oneAfterAnother(tx)
    if (name !== undefined) await requireNameFree(tx, id, name)
    if (isDefault === true) await noDefault(tx)
    const changes = {
      ...(name === undefined ? {} : { name }),
      ...(bytesPerSecond === undefined ? {} : { bytes_per_second: bytesPerSecond }),
      ...(parallel === undefined ? {} : { parallel }),
      ...(isDefault === undefined ? {} : { is_default: isDefault }),
    }
    const found = await tx
      .updateTable('vaults')
      .set({ id, ...changes })
      .where('id', '=', id)
      .executeTakeFirst()
    if (found.numUpdatedRows !== 1n) throw refuse.notFound({ what: 'Vault', id })
  })
}

export async function removeVaultRow(db: Db, id: VaultId): Promise<void> {
  await db.transaction().execute(async (tx) => {
    const row = await tx.selectFrom('vaults').select('name').where('id', '=', id).forUpdate().executeTakeFirst()
    if (!row) throw refuse.notFound({ what: 'Vault', id })
    const { count } = await tx
      .selectFrom('backups')
      .select(({ fn }) => fn.countAll<number>().as('count'))
      .where('vault_id', '=', id)
      .where('deleted_at', 'is', null)
      .executeTakeFirstOrThrow()
    if (count > 0) throw refuse.vaultInUse({ vault: row.name, why: `${count} backups in it are listed` })
    const groups = await tx.selectFrom('host_groups').select('name').where('vault_id', '=', id).execute()
    if (groups.length > 0)
      throw refuse.vaultInUse({ vault: row.name, why: `it is that of host group ${groups.map(({ name }) => name).join(', ')}` })
    await tx.deleteFrom('backups').where('vault_id', '=', id).execute()
    await tx.deleteFrom('vaults').where('id', '=', id).execute()
  })
}
