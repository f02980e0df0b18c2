/**
 * The controller's side of the agent protocol: the ports `HostAgent` and `StorageDriver` of one host, each for one fence and one
 * request, over kept connections.
 */
import type { z } from 'zod'
import {
  type CallFrom,
  type CallsOf,
  hostCalls,
  hostEvent,
  poolCalls,
  protocolVersion,
  received,
} from '../../agent/protocol.ts'
import type { PoolId } from '../../domain/ids.ts'
import type { HostAgent, HostEvent, Received } from '../../ports/host-agent.ts'
import type { StorageAbilities, StorageDriver } from '../../ports/storage-driver.ts'
import type { VaultMover } from '../../ports/vault-mover.ts'
import { linesOf, resultOf } from './answers.ts'
import type { AgentClient } from './directory.ts'
import { HttpMover } from './mover.ts'
import { type AgentAddress, Transport } from './transport.ts'

/** Calls answer in milliseconds; a host that swaps or a disk that hangs may take this long before it counts as out of reach. */
const quickMs = 60_000
/** What a call may take beyond the grace that its caller gave the guest. */
const stopMs = 60_000

type Calls = CallsOf<HostAgent> | CallsOf<StorageDriver>
type Table = Readonly<Record<string, { readonly args: z.ZodType; readonly result: z.ZodType }>>

export class HttpAgentClient implements AgentClient<CallFrom> {
  readonly name: string
  readonly #transport: Transport

  constructor(name: string, address: AgentAddress) {
    this.name = name
    this.#transport = new Transport(name, address)
  }

  close(): void {
    this.#transport.close()
  }

  /** Without `from`, only calls that change nothing are accepted. */
  host(from: CallFrom | null = null): HostAgent {
    return this.#proxy<HostAgent>('host', hostCalls, from, {})
  }

  pool(pool: PoolId, abilities: StorageAbilities, kind: StorageDriver['kind'], from: CallFrom | null = null): StorageDriver {
    return this.#proxy<StorageDriver>(`pools/${pool}`, poolCalls, from, { kind, pool, abilities })
  }

  /** Without `from`, only calls that change nothing are accepted. */
  mover(from: CallFrom | null = null): VaultMover {
    return new HttpMover(this.#transport, from)
  }

  async upload(pool: PoolId, upload: string, data: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<Received> {
    const path = `/${protocolVersion}/pools/${pool}/incoming/${encodeURIComponent(upload)}`
    const answer = await this.#transport.send({ method: 'PUT', path, requestId: null, deadlineMs: null, signal, body: data })
    return received.parse(await resultOf(answer, this.name))
  }

  async *events(after: number, signal: AbortSignal): AsyncGenerator<HostEvent> {
    const path = `/${protocolVersion}/events?after=${after}`
    const answer = await this.#transport.send({ method: 'GET', path, requestId: null, deadlineMs: null, signal })
    for await (const line of linesOf(answer, this.name)) yield hostEvent.parse(line)
  }

  #proxy<Port>(path: string, calls: Calls, from: CallFrom | null, facts: object): Port {
    const table: Table = calls
    const call =
      (name: string) =>
      async (...given: readonly unknown[]): Promise<unknown> => {
        const last = given.at(-1)
        const signal = last instanceof AbortSignal ? last : undefined
        const args = signal ? given.slice(0, -1) : given.filter((one) => one !== undefined)
        const answer = await this.#transport.send({
          method: 'POST',
          path: `/${protocolVersion}/${path}/${name}`,
          requestId: from?.requestId ?? null,
          deadlineMs: deadlineOf(name, args),
          signal,
          body: JSON.stringify({ args, fence: from?.fence }),
        })
        return table[name]?.result.parse(await resultOf(answer, this.name))
      }
    // Every name of the table is a call of the port, and its arguments and result are the port's: `CallsOf` holds that.
    return Object.assign(Object.fromEntries(Object.keys(table).map((name) => [name, call(name)])), facts) as Port
  }
}

const copies: readonly string[] = ['mergeLive', 'merge', 'importUpload'] satisfies (keyof HostAgent | keyof StorageDriver)[]

function deadlineOf(name: string, args: readonly unknown[]): number | null {
  if (copies.includes(name)) return null
  const how = name === 'stopMachine' ? hostCalls.stopMachine.args.safeParse(args) : null
  if (how?.success) return how.data[1].graceSeconds * 1000 + stopMs
  const request = name === 'pivot' ? hostCalls.pivot.args.safeParse(args) : null
  if (request?.success) return request.data[0].freezeSeconds * 1000 + 2 * quickMs
  return quickMs
}
