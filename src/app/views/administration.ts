/** What an administrator looks at: the audit log, pools with their space, hosts. */
import { sql } from 'kysely'
import type { Caller } from '../caller.ts'
import { paged, type ViewNeeds } from './visible.ts'

export type AuditFilter = {
  readonly limit: number
  readonly after?: number | undefined
  readonly user?: string | undefined
  readonly project?: string | undefined
  readonly action?: string | undefined
  readonly request_id?: string | undefined
  readonly since?: string | undefined
}

export async function listAudit({ db, policy }: ViewNeeds, caller: Caller, filter: AuditFilter) {
  policy.require(caller, 'comeback:audit:list')
  let query = db
    .selectFrom('audit_log as a')
    .leftJoin('users as u', 'u.id', 'a.user_id')
    .leftJoin('projects as p', 'p.id', 'a.project_id')
    .selectAll('a')
    .select(['u.name as user_name', 'p.name as project_name'])
    .orderBy('seq', 'desc')
    .limit(filter.limit + 1)
  if (filter.after !== undefined) query = query.where('seq', '<', filter.after)
  if (filter.user !== undefined) query = query.where(sql<boolean>`${filter.user} in (a.user_id, u.name)`)
  if (filter.project !== undefined) query = query.where(sql<boolean>`${filter.project} in (a.project_id, p.name)`)
  if (filter.action !== undefined) query = query.where('action', '=', filter.action)
  if (filter.request_id !== undefined) query = query.where('request_id', '=', filter.request_id)
  if (filter.since !== undefined) query = query.where('at', '>=', new Date(filter.since))
  return paged(await query.execute(), filter.limit, ({ seq }) => String(seq))
}

export async function listPools({ db, policy }: ViewNeeds, caller: Caller) {
  policy.require(caller, 'comeback:pools:list')
  return await db
    .selectFrom('pools as p')
    .selectAll('p')
    .select((row) => [
      row
        .selectFrom('volumes as v')
        .whereRef('v.pool_id', '=', 'p.id')
        .where('v.deleted_at', 'is', null)
        .select((count) => count.fn.countAll<number>().as('volumes'))
        .as('volumes'),
      row
        .selectFrom('volumes as v')
        .whereRef('v.pool_id', '=', 'p.id')
        .where('v.deleted_at', 'is', null)
        .select(sql<number>`coalesce(sum(v.size_bytes), 0)::bigint`.as('bytes'))
        .as('provisioned_bytes'),
      sql<string[]>`array(select h.name from pool_hosts ph join hosts h on h.id = ph.host_id
        where ph.pool_id = p.id order by h.name)`.as('hosts'),
    ])
    .orderBy('p.name')
    .execute()
}

export async function listHosts({ db, policy }: ViewNeeds, caller: Caller) {
  policy.require(caller, 'comeback:hosts:list')
  return await db
    .selectFrom('hosts as h')
    .leftJoin('host_groups as g', 'g.id', 'h.group_id')
    .selectAll('h')
    .select('g.name as group_name')
    .select((row) =>
      row
        .selectFrom('instances as i')
        .whereRef('i.host_id', '=', 'h.id')
        .where('i.state', '=', 'running')
        .select((count) => count.fn.countAll<number>().as('running'))
        .as('running'),
    )
    .orderBy('h.name')
    .execute()
}
