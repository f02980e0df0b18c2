/** Which agent answers for which host and which pool, as the hosts watcher has met them. */
import type { HostId, PoolId } from '../../domain/ids.ts'
import { refuse } from '../../domain/refusals.ts'
import type { HostAgent, HostEvents, HostHello, Uploads } from '../../ports/host-agent.ts'
import type { StorageAbilities, StorageDriver } from '../../ports/storage-driver.ts'

/** The controller's side of one agent; `Fence` is what its changing calls are fenced with, null for reading only. */
export interface AgentClient<Fence> extends HostEvents, Uploads {
  host(fence: Fence | null): HostAgent
  pool(pool: PoolId, abilities: StorageAbilities, kind: StorageDriver['kind'], fence: Fence | null): StorageDriver
}

type Pool = { readonly address: string; readonly kind: StorageDriver['kind']; readonly abilities: StorageAbilities }

export class AgentDirectory<Fence> {
  readonly #connect: (address: string) => AgentClient<Fence>
  readonly #clients = new Map<string, AgentClient<Fence>>()
  readonly #hosts = new Map<HostId, string>()
  readonly #pools = new Map<PoolId, Pool>()

  constructor(connect: (address: string) => AgentClient<Fence>) {
    this.#connect = connect
  }

  at(address: string): AgentClient<Fence> {
    const known = this.#clients.get(address)
    if (known) return known
    const made = this.#connect(address)
    this.#clients.set(address, made)
    return made
  }

  met(host: HostId, address: string, { pools }: Pick<HostHello, 'pools'>): void {
    this.#hosts.set(host, address)
    for (const { id, kind, abilities } of pools) this.#pools.set(id, { address, kind, abilities })
  }

  host(host: HostId, fence: Fence | null): HostAgent {
    const address = this.#hosts.get(host)
    if (address === undefined) throw refuse.hostUnreachable({ host })
    return this.at(address).host(fence)
  }

  storage(pool: PoolId, fence: Fence | null): StorageDriver {
    const { address, abilities, kind } = this.#pool(pool)
    return this.at(address).pool(pool, abilities, kind, fence)
  }

  uploads(pool: PoolId): Uploads {
    return this.at(this.#pool(pool).address)
  }

  #pool(pool: PoolId): Pool {
    const found = this.#pools.get(pool)
    if (found === undefined) throw refuse.hostUnreachable({ host: `of pool ${pool}` })
    return found
  }
}
