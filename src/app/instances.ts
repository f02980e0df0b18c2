/** Reading instances, with what belongs to them: disks, addresses, host, and what is being done to them. */
import { type Selectable, sql } from 'kysely'
import { type InstanceId, isUuid } from '../domain/ids.ts'
import { refuse } from '../domain/refusals.ts'
import type { Tables } from '../ports/tables.ts'
import type { Caller } from './caller.ts'
import type { PolicyName } from './policy/policy.ts'
import type { Reads, Whose } from './reads.ts'
import { visible } from './views/visible.ts'

export type InstanceRow = Selectable<Tables['instances']>
export type AttachmentRow = Selectable<Tables['attachments']>
export type PortRow = Selectable<Tables['ports']> & { readonly network: string }

export type InstanceDetail = InstanceRow & {
  readonly hostName: string | null
  readonly hostSeenAt: Date | null
  readonly attachments: readonly AttachmentRow[]
  readonly ports: readonly PortRow[]
}

/** A row with the kind of the operation that holds it; null when it is at rest. */
export type Busy<Row> = Row & { readonly activity: string | null }

export type InstanceFilter = {
  readonly whose: Whose
  /** A regular expression that the name contains, as Nova takes it. */
  readonly name?: string | undefined
  readonly host?: string | undefined
  readonly changedSince?: Date | undefined
  readonly changedBefore?: Date | undefined
  readonly ids?: readonly string[] | undefined
}

export async function findInstance(reads: Reads, caller: Caller, id: string, rule: PolicyName): Promise<Busy<InstanceDetail>> {
  const row = isUuid(id)
    ? await reads.db
        .selectFrom('instances')
        .selectAll()
        .where('id', '=', id as InstanceId)
        .where('deleted_at', 'is', null)
        .executeTakeFirst()
    : undefined
  const own = visible(reads, caller, rule, { what: 'Instance', id, row })
  const [detail] = await withDetails(reads, await withActivity(reads, 'instance', [own]))
  if (!detail) throw refuse.notFound({ what: 'Instance', id })
  return detail
}

/** Deleted ones are listed only by when they changed. */
export async function listInstances(reads: Reads, filter: InstanceFilter): Promise<Busy<InstanceRow>[]> {
  let query = reads.db.selectFrom('instances').selectAll('instances')
  if (filter.whose !== null) query = query.where('project_id', '=', filter.whose)
  if (filter.name !== undefined) query = query.where('instances.name', '~', regularExpression(filter.name))
  if (filter.host !== undefined)
    query = query.innerJoin('hosts', 'hosts.id', 'instances.host_id').where('hosts.name', '=', filter.host)
  if (filter.ids) query = query.where('instances.id', 'in', [...filter.ids] as InstanceId[])
  if (filter.changedSince) query = query.where('updated_at', '>=', filter.changedSince)
  else query = query.where('deleted_at', 'is', null)
  if (filter.changedBefore) query = query.where('updated_at', '<=', filter.changedBefore)
  return await withActivity(reads, 'instance', await query.execute().catch(refuseBadExpression))
}

function regularExpression(text: string): string {
  if (text.length > 255 || /\\\d/.test(text))
    throw refuse.malformed({ why: 'The name filter is too long or refers back to itself.' })
  return text
}

function refuseBadExpression(error: unknown): never {
  if (error instanceof Error && 'code' in error && error.code === '2201B')
    throw refuse.malformed({ why: 'The name filter is not a regular expression.' })
  throw error
}

export async function withActivity<Row extends { readonly id: string }>(
  { operations }: Pick<Reads, 'operations'>,
  kind: 'instance' | 'volume' | 'snapshot' | 'image',
  rows: readonly Row[],
): Promise<Busy<Row>[]> {
  if (rows.length === 0) return []
  const holders = await operations.holders(rows.map(({ id }) => `${kind}:${id}`))
  return rows.map((row) => ({ ...row, activity: holders.get(`${kind}:${row.id}`)?.kind ?? null }))
}

export async function withDetails<Row extends InstanceRow>(
  { db }: Pick<Reads, 'db'>,
  rows: readonly Row[],
): Promise<(Row & InstanceDetail)[]> {
  if (rows.length === 0) return []
  const ids = rows.map(({ id }) => id)
  const [hosts, attachments, ports] = await Promise.all([
    db.selectFrom('hosts').select(['id', 'name', 'seen_at']).execute(),
    db
      .selectFrom('attachments')
      .selectAll()
      .where('instance_id', 'in', ids)
      .orderBy(sql`length(device)`)
      .orderBy('device')
      .execute(),
    db
      .selectFrom('ports')
      .innerJoin('networks', 'networks.id', 'ports.network_id')
      .selectAll('ports')
      .select('networks.name as network')
      .where('instance_id', 'in', ids)
      .orderBy('ports.created_at')
      .execute(),
  ])
  return rows.map((row) => {
    const host = hosts.find(({ id }) => id === row.host_id)
    return {
      ...row,
      hostName: host?.name ?? null,
      hostSeenAt: host?.seen_at ?? null,
      attachments: attachments.filter((each) => each.instance_id === row.id),
      ports: ports.filter((each) => each.instance_id === row.id),
    }
  })
}
