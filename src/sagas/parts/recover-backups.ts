/** Rows of backups made of what a vault holds. */
import { sql } from 'kysely'
import type { BackupId, OperationId, SnapshotId, VaultId } from '../../domain/ids.ts'
import type { Tx } from '../../ports/tables.ts'
import type { FoundBackup } from '../../ports/vault-mover.ts'

export type RecoveredBackups = {
  readonly backupsAdded: number
  /** Rows that said something else of a backup that is whole. */
  readonly backupsMended: number
  readonly problems: readonly string[]
}

export async function applyFound(
  tx: Tx,
  vault: VaultId,
  found: readonly FoundBackup[],
  by: OperationId,
): Promise<RecoveredBackups> {
  const known = await rowsOf(tx, vault, found)
  let backupsAdded = 0
  let backupsMended = 0
  const problems: string[] = []
  for (const backup of found) {
    const row = known.get(backup.backup)
    if (row?.busy)
      problems.push(`Backup ${backup.backup} is busy with an operation and was left alone; run this again when it has ended.`)
    else if (!row) {
      await requireProject(tx, backup)
      await tx
        .insertInto('backups')
        .values(rowOf(backup, vault, by))
        .execute()
      backupsAdded += 1
    } else if (row.vault !== vault) problems.push(`Backup ${backup.backup} lies in another vault too, and is listed there.`)
    else if (row.state !== 'available') {
      await tx.updateTable('backups').set(whole(backup)).where('id', '=', backup.backup).execute()
      backupsMended += 1
    }
  }
  problems.push(...(await failLost(tx, vault, found, by)))
  await nameKeptPoints(tx, vault)
  return { backupsAdded, backupsMended, problems }
}

type Known = { readonly state: string; readonly vault: VaultId; readonly busy: boolean }

async function rowsOf(tx: Tx, vault: VaultId, found: readonly FoundBackup[]): Promise<ReadonlyMap<BackupId, Known>> {
  const ids = found.map(({ backup }) => backup)
  const rows = await tx
    .selectFrom('backups')
    .select(['id', 'state', 'vault_id as vault'])
    .select(sql<boolean>`exists(select from locks where resource = 'backup:' || backups.id and mode = 'exclusive')`.as('busy'))
    .where((row) =>
      ids.length === 0 ? row('vault_id', '=', vault) : row.or([row('vault_id', '=', vault), row('id', 'in', ids)]),
    )
    .execute()
  return new Map(rows.map(({ id, ...row }) => [id, row]))
}

const whole = ({ rootHash, sizeBytes, storedBytes, facts }: FoundBackup) => ({
  state: 'available' as const,
  fail_reason: null,
  deleted_at: null,
  facts: JSON.stringify(facts),
  size_bytes: sizeBytes,
  stored_bytes: storedBytes,
  root_hash: rootHash,
  consistency: facts.consistency,
  updated_at: new Date(),
})

const rowOf = (found: FoundBackup, vault: VaultId, by: OperationId) => ({
  ...whole(found),
  id: found.backup,
  project_id: found.project,
  user_id: null,
  volume_id: found.volume,
  vault_id: vault,
  pool_id: null,
  name: found.facts.name,
  description: found.facts.description,
  metadata: JSON.stringify(found.facts.metadata),
  snapshot_id: null,
  operation_id: by,
  created_at: new Date(found.facts.createdAt),
})

/** Its keys are derived from the project's id, so that must stay; the name stays too unless somebody else has it. */
async function requireProject(tx: Tx, { project, facts }: FoundBackup): Promise<void> {
  const description = 'Owner of backups found in a vault'
  const named = facts.projectName === '' ? `recovered-${project}` : facts.projectName
  for (const name of [named, `recovered-${project}`])
    await tx
      .insertInto('projects')
      .values({ id: project, name, description })
      .onConflict((conflict) => conflict.doNothing())
      .execute()
}

/** Backups that the rows call whole and the vault does not have: they were deleted after the copy that was restored was made. */
async function failLost(tx: Tx, vault: VaultId, found: readonly FoundBackup[], by: OperationId): Promise<string[]> {
  const there = new Set(found.map(({ backup }) => backup))
  const rows = await tx
    .selectFrom('backups as b')
    .select(['b.id', 'b.state'])
    .where('b.vault_id', '=', vault)
    .where('b.state', '=', 'available')
    .where('b.created_at', '<', tx.selectFrom('operations').select('created_at').where('id', '=', by))
    .where(sql<boolean>`not exists(select from locks where resource = 'backup:' || b.id)`)
    .execute()
  const gone = rows.map(({ id }) => id).filter((id) => !there.has(id))
  const reason = 'It is not in the vault any more.'
  if (gone.length > 0)
    await tx.updateTable('backups').set({ state: 'error', fail_reason: reason }).where('id', 'in', gone).execute()
  return gone.map((id) => `Backup ${id} is not in the vault: it is shown as failed now, and can be deleted.`)
}

/** A kept point that was read back from a pool belongs to the backup that it names, if that is its volume's latest. */
async function nameKeptPoints(tx: Tx, vault: VaultId): Promise<void> {
  const { rows } = await sql<{ backup: BackupId; snapshot: SnapshotId }>`
    select distinct on (b.volume_id) b.id as backup, s.id as snapshot
    from backups b left join volume_snapshots s
      on s.kind = 'backup' and s.deleted_at is null and s.state = 'available' and s.volume_id = b.volume_id
      and s.metadata->>'backup' = b.id::text
    where b.vault_id = ${vault} and b.state = 'available'
    order by b.volume_id, b.created_at desc`.execute(tx)
  for (const { backup, snapshot } of rows)
    if (snapshot !== null)
      await tx
        .updateTable('backups')
        .set({ snapshot_id: snapshot })
        .where('id', '=', backup)
        .where('snapshot_id', 'is', null)
        .execute()
}
