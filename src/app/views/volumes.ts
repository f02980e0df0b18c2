import { sql } from 'kysely'
import type { InstanceId, VolumeId } from '../../domain/ids.ts'
import type { Db } from '../../ports/tables.ts'
import type { Caller } from '../caller.ts'
import { cooldownSeconds } from '../plans.ts'
import { type Page, paged, scopeOf, type ViewNeeds, visible } from './visible.ts'

const rows = (db: Db) =>
  db
    .selectFrom('volumes as v')
    .leftJoin('attachments as a', 'a.volume_id', 'v.id')
    .leftJoin('instances as i', 'i.id', 'a.instance_id')
    .select(['v.id', 'v.name', 'v.description', 'v.state', 'v.size_bytes', 'v.bootable', 'v.project_id', 'v.pool_id'])
    .select(['v.metadata', 'v.plan_id', 'v.created_at', 'a.device', 'i.id as instance_id', 'i.name as instance_name'])
    .select((row) => cooldownSeconds(row).as('cooldown_seconds'))
    .select((row) =>
      row
        .selectFrom('operations as o')
        .select('o.volume_operation')
        .whereRef('o.volume_id', '=', 'v.id')
        .where('o.ended_at', 'is', null)
        .as('active_operation'),
    )
    .select((row) =>
      row
        .selectFrom('volume_snapshots as s')
        .select((count) => count.fn.countAll<number>().as('count'))
        .whereRef('s.volume_id', '=', 'v.id')
        .where('s.kind', '!=', 'backup')
        .where('s.deleted_at', 'is', null)
        .as('snapshots'),
    )
    .select((row) =>
      row
        .selectFrom('backups as b')
        .select((count) => count.fn.countAll<number>().as('count'))
        .whereRef('b.volume_id', '=', 'v.id')
        .where('b.deleted_at', 'is', null)
        .as('backups'),
    )
    .where('v.deleted_at', 'is', null)

export async function listVolumes(
  needs: ViewNeeds,
  caller: Caller,
  filter: Page & { all: boolean; name?: string | undefined; instance?: InstanceId | undefined },
) {
  const scope = scopeOf(needs, caller, { one: 'volume:get_all', all: 'volume:get_all_tenants' }, filter.all)
  const found = await rows(needs.db)
    .$if(scope !== 'all', (query) => query.where('v.project_id', '=', caller.project))
    .$if(filter.name !== undefined, (query) => query.where('v.name', '=', filter.name ?? ''))
    .$if(filter.instance !== undefined, (query) => query.where('a.instance_id', '=', filter.instance ?? null))
    .$if(filter.after !== undefined, (query) =>
      query.where(sql<boolean>`(v.created_at, v.id) < (select created_at, id from volumes where id = ${filter.after})`),
    )
    .orderBy('v.created_at', 'desc')
    .orderBy('v.id', 'desc')
    .limit(filter.limit + 1)
    .execute()
  return paged(found, filter.limit, ({ id }) => id)
}

export async function showVolume(needs: ViewNeeds, caller: Caller, id: VolumeId) {
  const row = await rows(needs.db).where('v.id', '=', id).executeTakeFirst()
  return visible(needs, caller, 'volume:get', { what: 'Volume', id, row })
}
export type VolumeRow = Awaited<ReturnType<typeof showVolume>>
