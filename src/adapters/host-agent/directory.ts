/** Which agent answers for which host and which pool, as the hosts watcher has met them. */
import { readFileSync } from 'node:fs'
import type { CallFrom } from '../../agent/protocol.ts'
import type { HostId, PoolId } from '../../domain/ids.ts'
import { refuse } from '../../domain/refusals.ts'
import type { HostAgent, HostHello, PoolFacts, Uploads } from '../../ports/host-agent.ts'
import type { StorageDriver } from '../../ports/storage-driver.ts'
import { AgentClient } from './client.ts'
import type { AgentAddress } from './transport.ts'

export type AgentTls = { readonly keyFile: string; readonly certFile: string; readonly caFile: string }

export class AgentDirectory {
  readonly #tls: AgentTls | null
  readonly #clients = new Map<string, AgentClient>()
  readonly #hosts = new Map<HostId, AgentClient>()
  readonly #pools = new Map<PoolId, { readonly client: AgentClient; readonly facts: PoolFacts }>()

  constructor(tls: AgentTls | null) {
    this.#tls = tls
  }

  at(address: string): AgentClient {
    const known = this.#clients.get(address)
    if (known) return known
    const made = new AgentClient(address.replace(/^unix:.*/, 'on this box'), addressOf(address, this.#tls))
    this.#clients.set(address, made)
    return made
  }

  met(host: HostId, address: string, { pools }: Pick<HostHello, 'pools'>): void {
    const client = this.at(address)
    this.#hosts.set(host, client)
    for (const facts of pools) this.#pools.set(facts.id, { client, facts })
  }

  /** Without `from`, only calls that change nothing are accepted. */
  host(host: HostId, from: CallFrom | null = null): HostAgent {
    const client = this.#hosts.get(host)
    if (client === undefined) throw refuse.hostUnreachable({ host })
    return client.host(from)
  }

  storage(pool: PoolId, from: CallFrom | null = null): StorageDriver {
    const { client, facts } = this.#pool(pool)
    return client.storage(facts, from)
  }

  uploads(pool: PoolId): Uploads {
    return this.#pool(pool).client
  }

  close(): void {
    for (const client of this.#clients.values()) client.close()
  }

  #pool(pool: PoolId) {
    const found = this.#pools.get(pool)
    if (found === undefined) throw refuse.hostUnreachable({ host: `of pool ${pool}` })
    return found
  }
}

function addressOf(address: string, tls: AgentTls | null): AgentAddress {
  if (address.startsWith('unix:')) return { over: 'unix', path: address.slice('unix:'.length) }
  const { protocol, hostname, port } = new URL(address)
  if (protocol !== 'https:' || tls === null) {
    throw refuse.setup({ why: `The agent address ${address} is not usable: give unix:/path, or https://host:port with a key, a certificate and a CA.` })
  }
  const read = (file: string) => readFileSync(file, 'utf8')
  return { over: 'tls', host: hostname, port: Number(port), key: read(tls.keyFile), cert: read(tls.certFile), ca: read(tls.caFile) }
}
