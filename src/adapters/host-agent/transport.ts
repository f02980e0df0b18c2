/** One HTTP request to an agent. Connections are kept; a silent agent is `hostUnreachable`, and what became of the call is unknown. */
import { type ClientRequest, Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http'
import { Agent as TlsAgent, request as tlsRequest } from 'node:https'
import { pipeline } from 'node:stream/promises'
import { requestIdHeader } from '../../agent/protocol.ts'
import type { RequestId } from '../../domain/ids.ts'
import { refuse } from '../../domain/refusals.ts'

/** Where an agent listens. Between hosts both sides show certificates of one authority. */
export type AgentAddress =
  | { readonly over: 'unix'; readonly path: string }
  | {
      readonly over: 'tls'
      readonly host: string
      readonly port: number
      readonly key: string
      readonly cert: string
      readonly ca: string
    }

export type AgentRequest = {
  readonly method: 'GET' | 'POST' | 'PUT'
  readonly path: string
  readonly requestId: RequestId | null
  /** Null: for as long as it takes. */
  readonly deadlineMs: number | null
  /** How long the agent may say nothing, before and within its answer. */
  readonly silenceMs?: number
  readonly signal?: AbortSignal | undefined
  readonly body?: string | AsyncIterable<Uint8Array>
}

export class Transport {
  readonly name: string
  readonly #address: AgentAddress
  readonly #kept: HttpAgent

  constructor(name: string, address: AgentAddress) {
    this.name = name
    this.#address = address
    this.#kept = address.over === 'unix' ? new HttpAgent({ keepAlive: true }) : new TlsAgent({ keepAlive: true })
  }

  close(): void {
    this.#kept.destroy()
  }

  /** The answer, its body still to be read. A connection that the agent had closed meanwhile is tried once anew. */
  async send(asked: AgentRequest): Promise<IncomingMessage> {
    try {
      return await this.#once(asked)
    } catch (error) {
      asked.signal?.throwIfAborted()
      if (error instanceof StaleConnection && (asked.body === undefined || typeof asked.body === 'string'))
        return await this.#once(asked).catch(() => this.#unreachable())
      return this.#unreachable()
    }
  }

  #unreachable(): never {
    throw refuse.hostUnreachable({ host: this.name })
  }

  #once({ method, path, requestId, deadlineMs, silenceMs, signal, body }: AgentRequest): Promise<IncomingMessage> {
    const headers = {
      ...(requestId === null ? {} : { [requestIdHeader]: requestId }),
      ...(typeof body === 'string' ? { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) } : {}),
    }
    const options = { method, path, headers, agent: this.#kept, ...(signal ? { signal } : {}) }
    const request = this.#open(options)
    const timer = deadlineMs === null ? undefined : setTimeout(() => request.destroy(new Error('too late')), deadlineMs)
    if (silenceMs !== undefined) request.setTimeout(silenceMs, () => request.destroy(new Error('silent')))
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
    request.once('response', resolve)
    request.on('error', (error: NodeJS.ErrnoException) =>
      reject(request.reusedSocket && error.code === 'ECONNRESET' ? new StaleConnection() : error),
    )
    request.once('close', () => clearTimeout(timer))
    if (body === undefined || typeof body === 'string') request.end(body)
    else pipeline(body, request).catch(reject)
    return promise
  }

  #open(options: object): ClientRequest {
    const address = this.#address
    if (address.over === 'unix') return httpRequest({ ...options, socketPath: address.path })
    return tlsRequest({ ...options, ...address, minVersion: 'TLSv1.3' })
  }
}

class StaleConnection extends Error {}
