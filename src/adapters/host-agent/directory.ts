/** Which agent answers for which host and which pool, as the hosts watcher has met them. */
import type { HostId, PoolId } from '../../domain/ids.ts'
import { refuse } from '../../domain/refusals.ts'
import type { HostAgent, HostEvents, HostHello, PoolFacts, Uploads } from '../../ports/host-agent.ts'
import type { StorageAbilities, StorageDriver } from '../../ports/storage-driver.ts'
import type { VaultMover } from '../../ports/vault-mover.ts'

/** The controller's side of one agent; `Fence` is what its changing calls are fenced with, null for reading only. */
export interface AgentClient<Fence> extends HostEvents, Uploads {
  host(fence: Fence | null): HostAgent
  pool(pool: PoolId, abilities: StorageAbilities, kind: StorageDriver['kind'], fence: Fence | null): StorageDriver
  mover(fence: Fence | null): VaultMover
  close(): void
}

export class AgentDirectory<Fence> {
  readonly #connect: (address: string) => AgentClient<Fence>
  readonly #clients = new Map<string, AgentClient<Fence>>()
  readonly #met = new Set<string>()
  readonly #hosts = new Map<HostId, AgentClient<Fence>>()
  readonly #pools = new Map<PoolId, { readonly client: AgentClient<Fence>; readonly facts: PoolFacts }>()

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
    const client = this.at(address)
    this.#met.add(address)
    this.#hosts.set(host, client)
    for (const facts of pools) this.#pools.set(facts.id, { client, facts })
  }

  /** How many of the addresses have been met. */
  metOf = (addresses: readonly string[]): number => addresses.filter((address) => this.#met.has(address)).length

  host(host: HostId, fence: Fence | null = null): HostAgent {
    return this.#host(host).host(fence)
  }

  storage(pool: PoolId, fence: Fence | null = null): StorageDriver {
    const { client, facts } = this.#pool(pool)
    return client.pool(pool, facts.abilities, facts.kind, fence)
  }

  /** Moves data between the pools of this host and vaults. */
  mover(host: HostId, fence: Fence | null = null): VaultMover {
    return this.#host(host).mover(fence)
  }

  uploads(pool: PoolId): Uploads {
    return this.#pool(pool).client
  }

  close(): void {
    for (const client of this.#clients.values()) client.close()
  }

  #host(host: HostId): AgentClient<Fence> {
    const client = this.#hosts.get(host)
    if (client === undefined) throw refuse.hostUnreachable({ host })
    return client
  }

  #pool(pool: PoolId) {
    const found = this.#pools.get(pool)
    if (found === undefined) throw refuse.hostUnreachable({ host: `of pool ${pool}` })
    return found
  }
}
