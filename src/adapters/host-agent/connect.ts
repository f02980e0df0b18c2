import { readFileSync } from 'node:fs'
import { refuse } from '../../domain/refusals.ts'
import { HttpAgentClient } from './client.ts'
import type { AgentAddress } from './transport.ts'

export type AgentTls = { readonly keyFile: string; readonly certFile: string; readonly caFile: string }

/** A client of the agent at `unix:/path` on this host, or at `https://host:port` with certificates of one authority on both sides. */
export const connectAgent = (address: string, tls: AgentTls | null, thisHost: string): HttpAgentClient =>
  new HttpAgentClient(address.startsWith('unix:') ? thisHost : address, addressOf(address, tls))

function addressOf(address: string, tls: AgentTls | null): AgentAddress {
  if (address.startsWith('unix:')) return { over: 'unix', path: address.slice('unix:'.length) }
  const { protocol, hostname, port } = new URL(address)
  if (protocol !== 'https:' || tls === null) {
    throw refuse.setup({
      why: `The agent address ${address} is not usable: give unix:/path, or https://host:port with a key, a certificate and a CA.`,
    })
  }
  const read = (file: string) => readFileSync(file, 'utf8')
  return {
    over: 'tls',
    host: hostname,
    port: Number(port),
    key: read(tls.keyFile),
    cert: read(tls.certFile),
    ca: read(tls.caFile),
  }
}
