/** Backups as the faces show them: the row, what is being done to it, and the names of what it belongs to. */
import { sql } from 'kysely'
import { type BackupId, type InstanceId, isUuid, type VaultId, type VolumeId } from '../../domain/ids.ts'
import type { OperationState } from '../../domain/operation.ts'
import type { Db } from '../../ports/tables.ts'
import type { Caller } from '../caller.ts'
import type { PolicyName } from '../policy/policy.ts'
import type { Whose } from '../reads.ts'
import { type Page, paged, scopeOf, type ViewNeeds, visible } from './visible.ts'

export type BackupFilter = Page & {
  readonly all: boolean
  readonly name?: string | undefined
  readonly volume?: VolumeId | undefined
  readonly instance?: InstanceId | undefined
  readonly vault?: VaultId | undefined
}

/** What a user calls the state of a backup. */
export const shownBackupStates = ['pending', 'creating', 'available', 'restoring', 'deleting', 'failed'] as const
export type ShownBackupState = (typeof shownBackupStates)[number]

/** The volume's name is that of the volume as long as it exists, then what it was called when it was backed up. */
const rows = (db: Db) =>
  db
    .selectFrom('backups as b')
    .innerJoin('vaults as t', 't.id', 'b.vault_id')
    .leftJoin('volumes as v', (join) => join.onRef('v.id', '=', 'b.volume_id').on('v.deleted_at', 'is', null))
    .leftJoin('operations as o', 'o.id', 'b.operation_id')
    .selectAll('b')
    .select(['t.name as vault_name', 'o.state as operation_state', 'o.problem', 'v.id as present_volume'])
    .select(sql<string>`coalesce(v.name, b.facts->>'volumeName', '')`.as('volume_name'))
    .select((row) =>
      row
        .exists(
          row
            .selectFrom('locks as l')
            .innerJoin('operations as r', 'r.id', 'l.operation_id')
            .select('l.resource')
            .where('r.kind', 'in', ['replace-heads', 'create-volume'])
            .where('l.resource', '=', sql<string>`'backup:' || b.id::text`),
        )
        .as('restoring'),
    )
    .where('b.deleted_at', 'is', null)

export type BackupRow = Awaited<ReturnType<typeof listAllBackups>>[number]

/** All of one project, or of all: what is shown of them is for the caller to choose. */
export const listAllBackups = async (db: Db, whose: Whose) =>
  await rows(db)
    .$if(whose !== null, (query) => query.where('b.project_id', '=', whose ?? ('' as never)))
    .execute()

export async function listBackups(needs: ViewNeeds, caller: Caller, filter: BackupFilter) {
  const { name, volume, instance, vault, after, limit } = filter
  const scope = scopeOf(needs, caller, { one: 'backup:get_all', all: 'volume:get_all_tenants' }, filter.all)
  let query = rows(needs.db)
    .orderBy('b.created_at', 'desc')
    .orderBy('b.id', 'desc')
    .limit(limit + 1)
  if (scope !== 'all') query = query.where('b.project_id', '=', scope)
  if (name !== undefined) query = query.where('b.name', '=', name)
  if (volume) query = query.where('b.volume_id', '=', volume)
  if (vault) query = query.where('b.vault_id', '=', vault)
  if (instance) query = query.where(sql<boolean>`b.facts->'instance'->>'id' = ${instance}`)
  if (after !== undefined)
    query = query.where(sql<boolean>`(b.created_at, b.id) < (select created_at, id from backups where id = ${after})`)
  return paged(await query.execute(), limit, ({ id }) => id)
}

/** An id that is none is not found. */
export async function findBackup(
  needs: ViewNeeds,
  caller: Caller,
  id: string,
  rule: PolicyName = 'backup:get',
): Promise<BackupRow> {
  const row = isUuid(id)
    ? await rows(needs.db)
        .where('b.id', '=', id as BackupId)
        .executeTakeFirst()
    : undefined
  return visible(needs, caller, rule, { what: 'Backup', id, row })
}

/** It has failed, and what it did is being taken back. */
const goingBack = (state: OperationState | null): boolean => state === 'undoing' || state === 'stuck' || state === 'quarantined'

export const failReasonOf = ({ state, fail_reason, operation_state, problem }: BackupRow): string | null =>
  fail_reason ?? (state === 'creating' && goingBack(operation_state) ? (problem?.message ?? null) : null)

export function shownState({ state, operation_state, restoring }: BackupRow): ShownBackupState {
  switch (state) {
    case 'creating':
      if (goingBack(operation_state)) return 'failed'
      return operation_state === 'pending' ? 'pending' : 'creating'
    case 'available':
      return restoring ? 'restoring' : 'available'
    case 'error':
      return 'failed'
    case 'deleting':
    case 'deleted':
      return 'deleting'
  }
}

export async function hasAvailableBackup(db: Db, volume: VolumeId): Promise<boolean> {
  const found = await db
    .selectFrom('backups')
    .select('id')
    .where('volume_id', '=', volume)
    .where('state', '=', 'available')
    .where('deleted_at', 'is', null)
    .limit(1)
    .executeTakeFirst()
  return found !== undefined
}
