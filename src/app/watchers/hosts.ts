/** Keeps the rows of hosts and pools: who answers, what it has, how much room there is; warns long before a pool is full. */
import { sql } from 'kysely'
import type { HostId, PoolId } from '../../domain/ids.ts'
import { newId } from '../../domain/ids.ts'
import type { HostAgent, HostHello } from '../../ports/host-agent.ts'
import type { Log } from '../../ports/log.ts'
import type { StorageDriver } from '../../ports/storage-driver.ts'
import type { Db, Tx } from '../../ports/tables.ts'
import { catchUp } from './catch-up.ts'
import type { Watcher } from './loop.ts'

export type HostsNeeds = {
  readonly db: Db
  readonly log: Log
  /** Free space of a pool, in percent, below which is warned. */
  readonly warnPercent: number
  /** Addresses of agents, from the configuration. */
  readonly addresses: readonly string[]
  readonly directory: {
    at(address: string): { host(fence: null): Pick<HostAgent, 'hello'> }
    /** An agent has answered: at this address is this host. */
    met(host: HostId, address: string, hello: HostHello): void
    storage(pool: PoolId): Pick<StorageDriver, 'space'>
  }
}

export const hostsWatcher = (needs: HostsNeeds, everyMs: number): Watcher => ({
  name: 'hosts',
  everyMs,
  look: async () => {
    const met = await Promise.allSettled(needs.addresses.map((address) => meet(needs, address)))
    const failed = met.find((one) => one.status === 'rejected')
    if (failed) throw failed.reason
  },
})

async function meet(needs: HostsNeeds, address: string): Promise<void> {
  const hello = await needs.directory.at(address).host(null).hello()
  const host = await needs.db.transaction().execute(async (tx) => {
    const id = await keepHost(tx, address, hello)
    await keepPools(tx, id, hello)
    await catchUp(tx, hello.highestEpoch)
    return id
  })
  // Only from here on can anything reach the host.
  needs.directory.met(host, address, hello)
  for (const pool of hello.pools) {
    const { totalBytes, freeBytes } = await needs.directory.storage(pool.id).space()
    await keepSpace(needs, pool.id, totalBytes, freeBytes)
  }
}

/** A full pool holds the guests that write to it, so those who can make room are told while there is some. */
async function keepSpace({ db, log, warnPercent }: HostsNeeds, id: PoolId, total: number, free: number): Promise<void> {
  const isLow = free < (total * warnPercent) / 100
  const before = await db.selectFrom('pools').select(['name', 'low_since']).where('id', '=', id).executeTakeFirst()
  const since = isLow ? sql<Date>`coalesce(low_since, clock_timestamp())` : null
  await db
    .updateTable('pools')
    .set({ total_bytes: total, free_bytes: free, low_since: since, measured_at: new Date() })
    .where('id', '=', id)
    .execute()
  if (isLow === (before?.low_since != null)) return
  const facts = { pool: before?.name, freeBytes: free, totalBytes: total, warnPercent }
  if (isLow) log.warn(facts, 'a pool runs short of space; when it is full, guests that write to it are held')
  else log.info(facts, 'a pool has room again')
}

async function keepPools(tx: Tx, host: HostId, { pools }: HostHello): Promise<void> {
  for (const { id, name, kind } of pools) {
    await tx
      .insertInto('pools')
      .values({ id, name, kind })
      .onConflict((conflict) => conflict.column('id').doNothing())
      .execute()
    await tx
      .insertInto('pool_hosts')
      .values({ pool_id: id, host_id: host })
      .onConflict((conflict) => conflict.doNothing())
      .execute()
  }
}

async function keepHost(tx: Tx, address: string, { name, facts }: HostHello): Promise<HostId> {
  const { id } = await tx
    .insertInto('hosts')
    .values({
      id: newId<HostId>(),
      name,
      agent_address: address,
      disabled_reason: null,
      facts: JSON.stringify(facts),
      seen_at: new Date(),
    })
    .onConflict((conflict) =>
      conflict.column('name').doUpdateSet({ agent_address: address, facts: JSON.stringify(facts), seen_at: new Date() }),
    )
    .returning('id')
    .executeTakeFirstOrThrow()
  return id
}
