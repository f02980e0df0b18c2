/** Reading volumes and their snapshots, with where a volume is attached and what is being done to it; changing their records. */
import type { Selectable } from 'kysely'
import { isUuid, type SnapshotId, type VolumeId } from '../domain/ids.ts'
import type { Tables } from '../ports/tables.ts'
import type { Caller } from './caller.ts'
import { type Busy, withActivity } from './instances.ts'
import type { PolicyName } from './policy/policy.ts'
import type { Reads, Whose } from './reads.ts'
import { visible } from './views/visible.ts'

export type VolumeDetail = Busy<Selectable<Tables['volumes']>> & {
  readonly poolName: string
  readonly attachment: (Selectable<Tables['attachments']> & { readonly hostName: string | null }) | null
  /** What is being done to it is to put a backup into it. */
  readonly filling: boolean
}
export type SnapshotDetail = Busy<Selectable<Tables['volume_snapshots']>>

export async function findVolume(reads: Reads, caller: Caller, id: string, rule: PolicyName): Promise<VolumeDetail> {
  const row = isUuid(id)
    ? await reads.db
        .selectFrom('volumes')
        .selectAll()
        .where('id', '=', id as VolumeId)
        .where('deleted_at', 'is', null)
        .executeTakeFirst()
    : undefined
  const own = visible(reads, caller, rule, { what: 'Volume', id, row })
  const [detail] = await withAttachments(reads, [own])
  return visible(reads, caller, rule, { what: 'Volume', id, row: detail })
}

export async function listVolumes(reads: Reads, whose: Whose): Promise<VolumeDetail[]> {
  const rows = await reads.db
    .selectFrom('volumes')
    .selectAll()
    .where('deleted_at', 'is', null)
    .$if(whose !== null, (query) => query.where('project_id', '=', whose ?? ('' as never)))
    .execute()
  return await withAttachments(reads, rows)
}

async function withAttachments(reads: Reads, rows: readonly Selectable<Tables['volumes']>[]): Promise<VolumeDetail[]> {
  if (rows.length === 0) return []
  const [busy, filling, pools, attachments] = await Promise.all([
    withActivity(reads, 'volume', rows),
    beingFilled(reads, rows),
    reads.db.selectFrom('pools').select(['id', 'name']).execute(),
    reads.db
      .selectFrom('attachments')
      .innerJoin('instances', 'instances.id', 'attachments.instance_id')
      .leftJoin('hosts', 'hosts.id', 'instances.host_id')
      .selectAll('attachments')
      .select('hosts.name as hostName')
      .where(
        'volume_id',
        'in',
        rows.map(({ id }) => id),
      )
      .execute(),
  ])
  return busy.map((row) => ({
    ...row,
    poolName: pools.find(({ id }) => id === row.pool_id)?.name ?? '',
    attachment: attachments.find(({ volume_id }) => volume_id === row.id) ?? null,
    filling: filling.has(row.id),
  }))
}

/** Those that are held by an operation which reads a backup. */
async function beingFilled({ db }: Reads, rows: readonly { readonly id: VolumeId }[]): Promise<ReadonlySet<VolumeId>> {
  const byResource = new Map(rows.map(({ id }) => [`volume:${id}`, id]))
  const found = await db
    .selectFrom('locks as v')
    .innerJoin('locks as b', 'b.operation_id', 'v.operation_id')
    .select('v.resource')
    .where('v.resource', 'in', [...byResource.keys()])
    .where('v.mode', '=', 'exclusive')
    .where('b.resource', 'like', 'backup:%')
    .execute()
  return new Set(found.flatMap(({ resource }) => byResource.get(resource) ?? []))
}

export type VolumeChange = Partial<{
  name: string
  description: string | null
  metadata: Readonly<Record<string, string>>
  image_metadata: Readonly<Record<string, string>> | null
  bootable: boolean
  state: 'ready' | 'error'
}>

export async function changeVolume(
  reads: Reads,
  caller: Caller,
  id: string,
  rule: PolicyName,
  change: (before: Selectable<Tables['volumes']>) => VolumeChange,
): Promise<VolumeDetail> {
  const found = await findVolume(reads, caller, id, rule)
  await reads.db.transaction().execute(async (tx) => {
    const before = await tx.selectFrom('volumes').selectAll().where('id', '=', found.id).forUpdate().executeTakeFirstOrThrow()
    const { metadata, image_metadata: image, ...rest } = change(before)
    await tx
      .updateTable('volumes')
      .set({
        ...rest,
        ...(metadata ? { metadata: JSON.stringify(metadata) } : {}),
        ...(image === undefined ? {} : { image_metadata: image && JSON.stringify(image) }),
        updated_at: new Date(),
      })
      .where('id', '=', found.id)
      .execute()
  })
  return await findVolume(reads, caller, id, rule)
}

export async function findSnapshot(reads: Reads, caller: Caller, id: string, rule: PolicyName): Promise<SnapshotDetail> {
  const row = isUuid(id)
    ? await reads.db
        .selectFrom('volume_snapshots')
        .selectAll()
        .where('id', '=', id as SnapshotId)
        .where('kind', '!=', 'backup')
        .where('deleted_at', 'is', null)
        .executeTakeFirst()
    : undefined
  const own = visible(reads, caller, rule, { what: 'Snapshot', id, row })
  const [detail] = await withActivity(reads, 'snapshot', [own])
  return visible(reads, caller, rule, { what: 'Snapshot', id, row: detail })
}

export async function listSnapshots(reads: Reads, whose: Whose): Promise<SnapshotDetail[]> {
  const rows = await reads.db
    .selectFrom('volume_snapshots')
    .selectAll()
    .where('kind', '!=', 'backup')
    .where('deleted_at', 'is', null)
    .$if(whose !== null, (query) => query.where('project_id', '=', whose ?? ('' as never)))
    .execute()
  return await withActivity(reads, 'snapshot', rows)
}

export type SnapshotChange = Partial<{
  name: string
  description: string | null
  metadata: Readonly<Record<string, string>>
  state: 'available' | 'error'
}>

export async function changeSnapshot(
  reads: Reads,
  caller: Caller,
  id: string,
  rule: PolicyName,
  change: (before: Selectable<Tables['volume_snapshots']>) => SnapshotChange,
): Promise<SnapshotDetail> {
  const found = await findSnapshot(reads, caller, id, rule)
  await reads.db.transaction().execute(async (tx) => {
    const before = await tx
      .selectFrom('volume_snapshots')
      .selectAll()
      .where('id', '=', found.id)
      .forUpdate()
      .executeTakeFirstOrThrow()
    const { metadata, ...rest } = change(before)
    await tx
      .updateTable('volume_snapshots')
      .set({ ...rest, ...(metadata ? { metadata: JSON.stringify(metadata) } : {}), updated_at: new Date() })
      .where('id', '=', found.id)
      .execute()
  })
  return await findSnapshot(reads, caller, id, rule)
}
