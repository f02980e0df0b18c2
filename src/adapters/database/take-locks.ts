import { sql } from 'kysely'
import type { OperationId } from '../../domain/ids.ts'
import type { Lock, Resource } from '../../domain/operation.ts'
import { type Refusal, refuse } from '../../domain/refusals.ts'
import type { TakeLocks } from '../../ports/operations.ts'
import type { Tx } from '../../ports/tables.ts'

/** Everything wanted is held by background work that gives way when asked. */
export class GiveWay extends Error {
  override readonly name = 'GiveWay'
  readonly holders: readonly OperationId[]
  readonly refusal: Refusal
  constructor(holders: readonly OperationId[], refusal: Refusal) {
    super('held by operations that give way')
    this.holders = holders
    this.refusal = refusal
  }
}

type Holder = { id: OperationId; kind: string; preemptible: boolean; resource: string }

/** Locks for one operation that is being started. Who starts on the same resources waits until this transaction ends. */
export const takeLocksFor =
  (tx: Tx, operation: OperationId): TakeLocks =>
  async (locks) => {
    if (locks.length === 0) return
    const wanted = inOrder(locks)
    await sql`
      select pg_advisory_xact_lock(hashtextextended(resource, 0))
      from unnest(${wanted.map(({ resource }) => resource)}::text[]) with ordinality as wanted(resource, place)
      order by place`.execute(tx)
    await requirePoolsKnown(tx, wanted)
    const holders = await holdersInTheWay(tx, operation, wanted)
    const [first] = holders
    if (first) {
      const refusal = busy(first)
      throw holders.every(({ preemptible }) => preemptible)
        ? new GiveWay([...new Set(holders.map(({ id }) => id))], refusal)
        : refusal
    }
    await tx
      .insertInto('locks')
      .values(wanted.map(({ resource, mode }) => ({ resource, mode, operation_id: operation })))
      .onConflict((own) =>
        own.columns(['resource', 'operation_id']).doUpdateSet({
          mode: sql`case when 'exclusive' in (excluded.mode, locks.mode) then 'exclusive' else 'shared' end`,
        }),
      )
      .execute()
  }

/** What an older copy of the database says of volumes and layers must not be acted upon. Only what reads the whole pool may go on. */
async function requirePoolsKnown(tx: Tx, wanted: readonly Lock[]): Promise<void> {
  const idsOf = (kind: string) =>
    wanted.flatMap(({ resource }) => (resource.startsWith(`${kind}:`) ? resource.slice(kind.length + 1) : []))
  const { rows } = await sql<{ name: string }>`
    select name from pools where ahead_since is not null and (
      id in (select pool_id from volumes where id::text = any(${idsOf('volume')}::text[]))
      or id in (select pool_id from layers where id::text = any(${idsOf('layer')}::text[])))`.execute(tx)
  const [pool] = rows
  if (pool) throw refuse.poolAhead({ pool: pool.name })
}

/** The point of a backup is taken by an operation of its own, which the user knows as the backup. */
const whatItIsFor = sql`
  (select w.volume_operation from operations w
   where w.waits_for = o.id and l.resource = 'volume:' || w.volume_id::text and w.ended_at is null)`

async function holdersInTheWay(tx: Tx, operation: OperationId, wanted: readonly Lock[]): Promise<Holder[]> {
  const exclusively = wanted.filter(({ mode }) => mode === 'exclusive').map(({ resource }) => resource)
  const rows = await tx
    .selectFrom('locks as l')
    .innerJoin('operations as o', 'o.id', 'l.operation_id')
    .select(['o.id', 'o.preemptible', 'l.resource', 'l.mode'])
    .select(sql<string>`coalesce(o.volume_operation, ${whatItIsFor}, o.kind)`.as('kind'))
    .where(
      'l.resource',
      'in',
      wanted.map(({ resource }) => resource),
    )
    .where('l.operation_id', '!=', operation)
    .execute()
  return rows
    .filter(({ mode, resource }) => mode === 'exclusive' || exclusively.some((wants) => wants === resource))
    .sort((a, b) => rank(a.resource) - rank(b.resource) || Number(a.preemptible) - Number(b.preemptible))
}

const ranks: Record<string, number> = {
  instance: 0,
  volume: 1,
  snapshot: 2,
  image: 3,
  layer: 4,
  backup: 5,
  archive: 6,
  vault: 7,
  host: 8,
  pool: 9,
} satisfies Record<KindOf<Resource>, number>
type KindOf<R extends Resource> = R extends `${infer Kind}:${string}` ? Kind : never

const rank = (resource: string): number => ranks[resource.slice(0, resource.indexOf(':'))] ?? Number.MAX_SAFE_INTEGER

/** One order for everybody, so that two who start at once cannot wait for each other. Each resource once, by its stronger mode. */
function inOrder(locks: readonly Lock[]): Lock[] {
  const modes = new Map<Resource, Lock['mode']>()
  for (const { resource, mode } of locks) {
    if (modes.get(resource) !== 'exclusive') modes.set(resource, mode)
  }
  return [...modes]
    .map(([resource, mode]) => ({ resource, mode }))
    .sort((a, b) => rank(a.resource) - rank(b.resource) || (a.resource < b.resource ? -1 : 1))
}

function busy({ resource, kind: operation }: Holder): Refusal {
  const [what = '', id = ''] = resource.split(':')
  if (what === 'instance') return refuse.instanceBusy({ id, operation })
  if (what === 'volume') return refuse.volumeBusy({ operation })
  return refuse.resourceBusy({ what, id, operation })
}
