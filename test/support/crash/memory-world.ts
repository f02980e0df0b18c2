/** All of the world but the database: pools and hosts in memory, which can be copied, compared, and fenced by epochs. */
import { systemClock } from '../../../src/adapters/clock.ts'
import type { MemoryDriver } from '../../../src/adapters/storage/memory/driver.ts'
import type { HostId, PoolId } from '../../../src/domain/ids.ts'
import { refuse } from '../../../src/domain/refusals.ts'
import type { Clock } from '../../../src/ports/clock.ts'
import type { Db } from '../../../src/ports/tables.ts'
import type { World } from '../../../src/ports/world.ts'
import type { Ticket } from '../../../src/sagas/engine/worker.ts'
import type { MemoryHost } from '../memory-host.ts'
import { testSecrets } from '../secrets.ts'
import { MemoryMover, MemoryVaults } from '../vaults.ts'

/** Waiting takes no time here. */
export const hastyClock: Clock = { ...systemClock, wait: async () => {} }

export class MemoryWorld {
  readonly pools: ReadonlyMap<PoolId, MemoryDriver>
  readonly hosts: ReadonlyMap<HostId, MemoryHost>
  /** The highest epoch seen of each resource, as the agents remember it. */
  readonly #seen = new Map<string, number>()

  readonly vaults: MemoryVaults

  constructor(
    pools: ReadonlyMap<PoolId, MemoryDriver>,
    hosts: ReadonlyMap<HostId, MemoryHost>,
    vaults: MemoryVaults = new MemoryVaults(),
  ) {
    this.pools = pools
    this.hosts = hosts
    this.vaults = vaults
  }

  copy(): MemoryWorld {
    const pools = new Map([...this.pools].map(([id, pool]) => [id, pool.copy()]))
    const hosts = new Map([...this.hosts].map(([id, host]) => [id, host.copy([...pools.values()])]))
    return new MemoryWorld(pools, hosts, this.vaults.copy())
  }

  state(): unknown {
    const states = (all: ReadonlyMap<string, { state(): unknown }>) => new Map([...all].map(([id, one]) => [id, one.state()]))
    return { pools: states(this.pools), hosts: states(this.hosts), vaults: this.vaults.state() }
  }

  mover(): MemoryMover {
    return new MemoryMover(this.vaults, this.pools)
  }

  /** Refuses who was overtaken, as an agent does. */
  admit({ resourceOfFence: resource, epoch }: Ticket): void {
    const seen = this.#seen.get(resource) ?? 0
    if (epoch < seen) throw refuse.staleEpoch({ resource, given: epoch, seen })
    this.#seen.set(resource, epoch)
  }

  /** What a saga sees of it. `wrap` stands between the saga and each pool, host and mover. */
  seenBy(db: Db, wrap: <Target extends object>(target: Target, name: string) => Target = (target) => target): World {
    return {
      db,
      clock: hastyClock,
      storage: (pool) => wrap(required(this.pools, pool), 'storage'),
      hosts: (host) => wrap(required(this.hosts, host), 'host'),
      mover: () => wrap(this.mover(), 'mover'),
      secrets: testSecrets,
    }
  }
}

function required<Id, Thing>(things: ReadonlyMap<Id, Thing>, id: Id): Thing {
  const found = things.get(id)
  if (!found) throw new Error(`${String(id)} is not in this world`)
  return found
}
