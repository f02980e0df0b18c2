/** Where a new instance goes, and with which address. */
import { type Selectable, sql } from 'kysely'
import type { HostId, InstanceId, PoolId, ProjectId } from '../domain/ids.ts'
import { refuse } from '../domain/refusals.ts'
import type { Tables, Tx } from '../ports/tables.ts'
import type { CreateInstance } from './commands.ts'

export type Placement = { readonly host: HostId; readonly pool: PoolId }

/** The enabled, answering host with the fewest MiB promised that reaches these pools; new volumes go to its first pool. */
export async function placeInstance(
  tx: Tx,
  asked: string | null,
  pools: readonly PoolId[],
  silentSeconds: number,
): Promise<Placement> {
  const { rows } = await sql<{ host: HostId; name: string; pools: PoolId[] }>`
    select h.id as host, h.name, array_agg(ph.pool_id order by p.created_at)::text[] as pools
    from hosts h join pool_hosts ph on ph.host_id = h.id join pools p on p.id = ph.pool_id
    where h.enabled and h.seen_at > now() - make_interval(secs => ${silentSeconds})
    group by h.id, h.name
    order by (select coalesce(sum((flavor->>'ramMib')::bigint), 0) from instances i where i.host_id = h.id and i.deleted_at is null), h.name`.execute(
    tx,
  )
  const named = asked === null ? rows : rows.filter(({ name }) => name === asked)
  const reaching = named.find((host) => pools.every((pool) => host.pools.includes(pool)))
  if (!reaching) throw refuse.noHost({ why: whyNone(rows.length, named.length, asked) })
  return { host: reaching.host, pool: pools[0] ?? reaching.pools[0]! }
}

function whyNone(up: number, named: number, asked: string | null): string {
  if (up === 0) return 'no enabled host answers. Start an agent, or enable a host.'
  if (named === 0) return `host ${asked} is unknown, disabled or silent.`
  return 'none of the hosts that answer reaches the storage of these disks.'
}

/** Gives the instance a port of its own: the lowest free address from .10 up, or the one asked for. */
export async function takePort(
  tx: Tx,
  instance: InstanceId,
  project: ProjectId,
  network: CreateInstance['network'],
): Promise<void> {
  if (network === 'none') return
  const byName = network === 'auto' ? null : network.network
  let query = tx.selectFrom('networks').selectAll().orderBy('created_at').limit(1).forUpdate()
  if (byName !== null) query = query.where('id', '=', byName)
  const net = await query.executeTakeFirst()
  if (!net) throw refuse.notFound({ what: 'Network', id: byName ?? 'auto' })
  const wanted = network === 'auto' ? null : network.fixedIp
  if (wanted !== null) await requireInside(tx, net, wanted)
  const fixedIp = wanted ?? (await lowestFree(tx, net.id, net.cidr))
  const taken = await tx
    .selectFrom('ports')
    .select('id')
    .where('network_id', '=', net.id)
    .where('fixed_ip', '=', fixedIp)
    .executeTakeFirst()
  if (taken) throw refuse.inUse({ what: 'Fixed IP', id: fixedIp, by: 'another port' })
  await tx
    .insertInto('ports')
    .values({
      id: crypto.randomUUID(),
      network_id: net.id,
      instance_id: instance,
      project_id: project,
      mac: randomMac(),
      fixed_ip: fixedIp,
    })
    .execute()
}

async function requireInside(tx: Tx, { id, cidr, gateway }: Selectable<Tables['networks']>, ip: string): Promise<void> {
  const { rows } = await sql<{ inside: boolean; edge: boolean }>`
    select ${ip}::inet << ${cidr}::inet as inside,
      host(${ip}::inet) in (host(network(${cidr}::inet)), host(broadcast(${cidr}::inet))) as edge`.execute(tx)
  const why = !rows[0]?.inside
    ? `it does not lie in ${cidr}`
    : rows[0].edge
      ? `it is the network's own or its broadcast address`
      : ip === gateway
        ? 'it is the gateway'
        : null
  if (why !== null) throw refuse.fixedIpNotValid({ ip, network: id, why })
}

async function lowestFree(tx: Tx, network: string, cidr: string): Promise<string> {
  const { rows } = await sql<{ ip: string | null }>`
    select host(network(${cidr}::inet) + n) as ip from generate_series(10, (broadcast(${cidr}::inet) - network(${cidr}::inet))::int - 1) n
    where host(network(${cidr}::inet) + n) not in (select fixed_ip from ports where network_id = ${network}) order by n limit 1`.execute(
    tx,
  )
  const ip = rows[0]?.ip
  if (!ip) throw refuse.noHost({ why: 'the network has no free address' })
  return ip
}

/** OpenStack's prefix, and 24 random bits; the table refuses a repeated one. */
function randomMac(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(3))
  return `fa:16:3e:${[...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':')}`
}
