import { sql } from 'kysely'
import type { InstanceId, OperationId, SnapshotId, VolumeId } from '../../domain/ids.ts'
import type { SnapshotKind } from '../../domain/volume.ts'
import type { Db } from '../../ports/tables.ts'
import type { Caller } from '../caller.ts'
import { type Page, paged, scopeOf, type ViewNeeds, visible } from './visible.ts'

export type SnapshotFilter = Page & {
  readonly all: boolean
  readonly volume?: VolumeId | undefined
  readonly instance?: InstanceId | undefined
  readonly operation?: OperationId | undefined
  readonly kind?: SnapshotKind | undefined
  readonly olderThanSeconds?: number | undefined
}

const rows = (db: Db) =>
  db
    .selectFrom('volume_snapshots as s')
    .innerJoin('volumes as v', 'v.id', 's.volume_id')
    .select(['s.id', 's.name', 's.description', 's.kind', 's.state', 's.volume_id', 's.size_bytes', 's.project_id'])
    .select(['s.instance_id', 's.device', 's.image_id', 's.operation_id', 's.consistency', 's.consistency_why'])
    .select(['s.metadata', 's.created_at'])
    .leftJoin('operations as o', 'o.id', 's.operation_id')
    .select(['v.name as volume_name', 'o.state as operation_state'])
    .select((row) =>
      row
        .exists(
          row
            .selectFrom('locks as l')
            .innerJoin('operations as r', 'r.id', 'l.operation_id')
            .select('l.resource')
            .where('r.kind', '=', 'replace-heads')
            .where('l.resource', '=', sql<string>`'snapshot:' || s.id::text`),
        )
        .as('restoring'),
    )
    .where('s.deleted_at', 'is', null)
    // Points of backups are nobody's snapshots.
    .where('s.kind', '!=', 'backup')
    .$narrowType<{ kind: Exclude<SnapshotKind, 'backup'> }>()

export async function listVolumeSnapshots(needs: ViewNeeds, caller: Caller, filter: SnapshotFilter) {
  const { volume, instance, operation, kind, olderThanSeconds, after, limit } = filter
  const scope = scopeOf(needs, caller, { one: 'volume:get_all_snapshots', all: 'volume:get_all_tenants' }, filter.all)
  let query = rows(needs.db)
    .orderBy('s.created_at', 'desc')
    .orderBy('s.id', 'desc')
    .limit(limit + 1)
  if (scope !== 'all') query = query.where('s.project_id', '=', scope)
  if (volume) query = query.where('s.volume_id', '=', volume)
  if (instance) query = query.where('s.instance_id', '=', instance)
  if (operation) query = query.where('s.operation_id', '=', operation)
  if (kind) query = query.where('s.kind', '=', kind)
  if (olderThanSeconds !== undefined) {
    query = query.where(sql<boolean>`s.created_at <= now() - make_interval(secs => ${olderThanSeconds})`)
  }
  if (after !== undefined) {
    query = query.where(sql<boolean>`(s.created_at, s.id) < (select created_at, id from volume_snapshots where id = ${after})`)
  }
  return paged(await query.execute(), limit, ({ id }) => id)
}

export async function showVolumeSnapshot(needs: ViewNeeds, caller: Caller, id: SnapshotId) {
  const row = await rows(needs.db).where('s.id', '=', id).executeTakeFirst()
  return visible(needs, caller, 'volume:get_snapshot', { what: 'Volume snapshot', id, row })
}
export type VolumeSnapshotRow = Awaited<ReturnType<typeof showVolumeSnapshot>>
