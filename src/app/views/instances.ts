import { sql } from 'kysely'
import type { InstanceId } from '../../domain/ids.ts'
import type { Db } from '../../ports/tables.ts'
import type { Caller } from '../caller.ts'
import { type Page, paged, type Scope, scopeOf, type ViewNeeds, visible } from './visible.ts'

const rule = 'os_compute_api:servers:show'

const rows = (db: Db) =>
  db
    .selectFrom('instances as i')
    .leftJoin('hosts as h', 'h.id', 'i.host_id')
    .select([
      'i.id',
      'i.project_id',
      'i.name',
      'i.state',
      'i.paused_because',
      'i.fault',
      'i.flavor',
      'i.metadata',
      'i.created_at',
    ])
    .select('h.name as host')
    .where('i.deleted_at', 'is', null)

export async function listInstances(
  needs: ViewNeeds,
  caller: Caller,
  filter: Page & { all: boolean; name?: string | undefined },
) {
  const rules = { one: 'os_compute_api:servers:index', all: 'os_compute_api:servers:index:get_all_tenants' } as const
  const scope: Scope = scopeOf(needs, caller, rules, filter.all)
  const found = await rows(needs.db)
    .$if(scope !== 'all', (query) => query.where('i.project_id', '=', scope === 'all' ? caller.project : scope))
    .$if(filter.name !== undefined, (query) => query.where('i.name', '=', filter.name ?? ''))
    .$if(filter.after !== undefined, (query) =>
      query.where(sql<boolean>`(i.created_at, i.id) < (select created_at, id from instances where id = ${filter.after})`),
    )
    .orderBy('i.created_at', 'desc')
    .orderBy('i.id', 'desc')
    .limit(filter.limit + 1)
    .execute()
  const { items, next } = paged(found, filter.limit, ({ id }) => id)
  return { items: await withParts(needs.db, items), next }
}

export async function showInstance(needs: ViewNeeds, caller: Caller, id: InstanceId) {
  const row = await rows(needs.db).where('i.id', '=', id).executeTakeFirst()
  const [instance] = await withParts(needs.db, [visible(needs, caller, rule, { what: 'Instance', id, row })])
  return instance!
}
export type InstanceRow = Awaited<ReturnType<typeof showInstance>>

async function withParts<Row extends { readonly id: InstanceId }>(db: Db, instances: readonly Row[]) {
  const ids = instances.map(({ id }) => id)
  if (ids.length === 0) return []
  const disks = await db
    .selectFrom('attachments as a')
    .innerJoin('volumes as v', 'v.id', 'a.volume_id')
    .select(['a.instance_id', 'a.device', 'a.boot_index', 'v.id', 'v.name', 'v.size_bytes'])
    .where('a.instance_id', 'in', ids)
    .orderBy(sql`length(a.device)`)
    .orderBy('a.device')
    .execute()
  const ports = await db.selectFrom('ports').select(['instance_id', 'fixed_ip']).where('instance_id', 'in', ids).execute()
  return instances.map((instance) => ({
    ...instance,
    disks: disks.filter(({ instance_id }) => instance_id === instance.id),
    addresses: ports.filter(({ instance_id }) => instance_id === instance.id).map(({ fixed_ip }) => fixed_ip),
  }))
}
