/** Reading hosts with what runs on them. A host that has not been heard of for too long is down. */
import { type Selectable, sql } from 'kysely'
import { asId, type HostId, type ProjectId } from '../domain/ids.ts'
import { refuse } from '../domain/refusals.ts'
import { GiB } from '../domain/volume.ts'
import type { Db, Tables } from '../ports/tables.ts'

export type HostRow = Selectable<Tables['hosts']> & {
  /** Its place among all hosts by age: the number that old clients know it by. */
  readonly ordinal: number
  readonly up: boolean
  readonly instances: readonly { readonly id: string; readonly name: string; readonly project: ProjectId }[]
  readonly running: number
  readonly vcpusUsed: number
  readonly ramUsedMib: number
  readonly diskGib: number
  readonly diskFreeGib: number
}

export async function listHosts(db: Db, silentSeconds: number): Promise<HostRow[]> {
  const [hosts, instances, pools] = await Promise.all([
    db
      .selectFrom('hosts')
      .selectAll()
      .select(sql<boolean>`coalesce(seen_at > now() - make_interval(secs => ${silentSeconds}), false)`.as('up'))
      .orderBy('created_at')
      .orderBy('id')
      .execute(),
    db
      .selectFrom('instances')
      .select(['id', 'name', 'state', 'flavor', 'host_id', 'project_id as project'])
      .where('deleted_at', 'is', null)
      .execute(),
    db
      .selectFrom('pool_hosts')
      .innerJoin('pools', 'pools.id', 'pool_hosts.pool_id')
      .select(['host_id', 'total_bytes', 'free_bytes'])
      .execute(),
  ])
  return hosts.map((host, index) => {
    const here = instances.filter(({ host_id }) => host_id === host.id)
    const reachable = pools.filter(({ host_id }) => host_id === host.id)
    const sum = <Item>(items: readonly Item[], of: (item: Item) => number) => items.reduce((total, item) => total + of(item), 0)
    return {
      ...host,
      ordinal: index + 1,
      instances: here,
      running: here.filter(({ state }) => state === 'running').length,
      vcpusUsed: sum(here, ({ flavor }) => flavor.vcpus),
      ramUsedMib: sum(here, ({ flavor }) => flavor.ramMib),
      diskGib: Math.floor(sum(reachable, (pool) => pool.total_bytes) / GiB),
      diskFreeGib: Math.floor(sum(reachable, (pool) => pool.free_bytes) / GiB),
    }
  })
}

/** Takes new work, or takes none. What runs there goes on. */
export async function enableHost(db: Db, id: string, enabled: boolean, reason: string | null): Promise<void> {
  const { numUpdatedRows } = await db
    .updateTable('hosts')
    .set({ enabled, disabled_reason: enabled ? null : reason })
    .where('id', '=', asId<HostId>(id))
    .executeTakeFirst()
  if (numUpdatedRows !== 1n) throw refuse.notFound({ what: 'Compute host', id })
}
