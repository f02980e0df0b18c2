/** Vaults and host groups, for administrators. Keys are not among what is read here. */
import { sql } from 'kysely'
import type { HostGroupId, VaultId } from '../../domain/ids.ts'
import { refuse } from '../../domain/refusals.ts'
import type { Db } from '../../ports/tables.ts'
import type { Caller } from '../caller.ts'
import type { ViewNeeds } from './visible.ts'

const rows = (db: Db) =>
  db
    .selectFrom('vaults as t')
    .select(['t.id', 't.name', 't.kind', 't.place', 't.is_default', 't.bytes_per_second', 't.parallel'])
    .select(['t.created_at', 't.tested_at', 't.test_problem'])
    .select((row) => {
      const backups = row.selectFrom('backups as b').whereRef('b.vault_id', '=', 't.id').where('b.deleted_at', 'is', null)
      return [
        backups.select(({ fn }) => fn.countAll<number>().as('count')).as('backups'),
        backups.select(sql<number>`coalesce(sum(b.stored_bytes), 0)::bigint`.as('bytes')).as('stored_bytes'),
        backups
          .where('b.damage', 'is not', null)
          .select(({ fn }) => fn.countAll<number>().as('count'))
          .as('damaged'),
      ]
    })
    .select(sql<string[]>`array(select g.name from host_groups g where g.vault_id = t.id order by g.name)`.as('host_groups'))

export type VaultRow = Awaited<ReturnType<typeof listVaults>>[number]

export async function listVaults({ db, policy }: ViewNeeds, caller: Caller) {
  policy.require(caller, 'comeback:vaults:list')
  return await rows(db).orderBy('t.name').execute()
}

export async function showVault({ db, policy }: ViewNeeds, caller: Caller, id: VaultId): Promise<VaultRow> {
  policy.require(caller, 'comeback:vaults:list')
  const row = await rows(db).where('t.id', '=', id).executeTakeFirst()
  if (!row) throw refuse.notFound({ what: 'Vault', id })
  return row
}

const groupRows = (db: Db) =>
  db
    .selectFrom('host_groups as g')
    .leftJoin('vaults as t', 't.id', 'g.vault_id')
    .select(['g.id', 'g.name', 'g.vault_id', 't.name as vault_name', 'g.created_at'])
    .select(sql<string[]>`array(select h.name from hosts h where h.group_id = g.id order by h.name)`.as('hosts'))

export type HostGroupRow = Awaited<ReturnType<typeof listHostGroups>>[number]

export async function listHostGroups({ db, policy }: ViewNeeds, caller: Caller) {
  policy.require(caller, 'comeback:host_groups:list')
  return await groupRows(db).orderBy('g.name').execute()
}

export async function showHostGroup({ db, policy }: ViewNeeds, caller: Caller, id: HostGroupId): Promise<HostGroupRow> {
  policy.require(caller, 'comeback:host_groups:list')
  const row = await groupRows(db).where('g.id', '=', id).executeTakeFirst()
  if (!row) throw refuse.notFound({ what: 'Host group', id })
  return row
}
