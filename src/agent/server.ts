/** The protocol's server side: requests to calls, fences before effects, refusals to answers. */

import { chmod, mkdir, rm } from 'node:fs/promises'
import { createServer as createHttpServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { dirname } from 'node:path'
import type { Logger } from 'pino'
import { z } from 'zod'
import { saysLocked } from '../adapters/storage/qcow2/tool.ts'
import type { PoolId } from '../domain/ids.ts'
import { asId } from '../domain/ids.ts'
import { Refusal, refuse } from '../domain/refusals.ts'
import { failpoint } from '../failpoints.ts'
import type { HostHello } from '../ports/host-agent.ts'
import { callPool, hostImplementations, poolOf } from './calls.ts'
import type { EventLog } from './event-log.ts'
import type { Fences } from './fences.ts'
import { LineAnswer } from './long-calls.ts'
import type { LocalPool } from './machines/environment.ts'
import type { Machines } from './machines/machines.ts'
import type { Movers } from './mover/movers.ts'
import {
  fence,
  hostCalls,
  moverCalls,
  poolCalls,
  protocolVersion,
  requestIdHeader,
  uploadName,
  wireStatus,
} from './protocol.ts'
import { QmpClosed, QmpRefused, QmpTimeout } from './qmp/errors.ts'
import { receive } from './receive.ts'

export type Listening =
  | { readonly over: 'unix'; readonly path: string }
  | {
      readonly over: 'tls'
      readonly host: string
      readonly port: number
      readonly key: string
      readonly cert: string
      readonly ca: string
    }

export type ServerParts = {
  readonly machines: Machines
  readonly movers: Movers
  readonly pools: ReadonlyMap<PoolId, LocalPool>
  readonly fences: Fences
  readonly events: EventLog
  readonly hello: () => HostHello
  readonly log: Logger
}

/** The longest call is a start with many disks in long chains: some tens of KiB. */
const mostBodyBytes = 8 * 1024 * 1024

const body = z.object({ args: z.array(z.unknown()), fence: fence.nullish() })

export class AgentServer {
  readonly #parts: ServerParts
  readonly #host: ReturnType<typeof hostImplementations>
  readonly #closing = new AbortController()
  #server: Server | undefined

  constructor(parts: ServerParts) {
    this.#parts = parts
    this.#host = hostImplementations(parts.machines, parts.hello)
  }

  /** Answers the address: that of a TLS listener says which port it got. */
  async listen(listening: Listening): Promise<string> {
    const handle = (request: IncomingMessage, response: ServerResponse): void => void this.#serve(request, response)
    const options = { keepAliveTimeout: 60_000, requestTimeout: 0 }
    const server =
      listening.over === 'unix'
        ? createHttpServer(options, handle)
        : createTlsServer(
            { ...options, ...listening, requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.3' },
            handle,
          )
    this.#server = server
    const ready = Promise.withResolvers<void>()
    server.once('error', ready.reject)
    if (listening.over === 'unix') {
      await mkdir(dirname(listening.path), { recursive: true, mode: 0o700 })
      await rm(listening.path, { force: true })
      const umask = process.umask(0o177)
      server.listen(listening.path, ready.resolve)
      process.umask(umask)
    } else server.listen(listening.port, listening.host, ready.resolve)
    await ready.promise
    if (listening.over === 'unix') await chmod(listening.path, 0o600)
    const address = server.address()
    return typeof address === 'string' || address === null ? String(address) : `${address.address}:${address.port}`
  }

  /** Streams end at once, calls that run are answered. */
  async close(): Promise<void> {
    this.#closing.abort(refuse.hostUnreachable({ host: this.#parts.hello().name }))
    const server = this.#server
    if (server === undefined) return
    const closed = new Promise((resolve) => server.close(resolve))
    server.closeIdleConnections()
    const patience = setTimeout(() => server.closeAllConnections(), 1_000)
    await closed
    clearTimeout(patience)
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const requestId = String(request.headers[requestIdHeader] ?? '')
    const url = new URL(request.url ?? '/', 'http://agent')
    const log = this.#parts.log.child({ requestId, call: url.pathname })
    const since = performance.now()
    const answer: Answering = { lines: null }
    try {
      const [version, kind, ...rest] = url.pathname.slice(1).split('/')
      if (version !== protocolVersion) throw refuse.notFound({ what: 'Path', id: url.pathname })
      if (request.method === 'GET' && kind === 'events')
        return await this.#stream(Number(url.searchParams.get('after') ?? 0), response)
      const result = await this.#answer(request, response, kind ?? '', rest, log, answer)
      if (answer.lines) answer.lines.end({ result })
      else send(response, 200, { result })
      // Watchers look every few seconds and have no request; what a request did is worth a line.
      log[requestId === '' ? 'debug' : 'info']({ ms: Math.round(performance.now() - since) }, 'done')
    } catch (error) {
      const refusal = refusalOf(error, log)
      log.info({ ms: Math.round(performance.now() - since), code: refusal?.code ?? 'defect' }, 'refused')
      request.resume()
      const { code, kind, message, facts } = refusal ?? defect
      const refused = { error: { code, kind, message, facts } }
      if (answer.lines?.hasBegun) answer.lines.end(refused)
      else {
        answer.lines?.abandon()
        send(response, kind === 'defect' ? 500 : wireStatus[kind], refused)
      }
    }
  }

  async #answer(
    request: IncomingMessage,
    response: ServerResponse,
    kind: string,
    rest: string[],
    log: Logger,
    answer: Answering,
  ): Promise<unknown> {
    if (kind === 'pools' && request.method === 'PUT' && rest[1] === 'incoming') {
      const pool = poolOf(this.#parts.pools, asId<PoolId>(rest[0] ?? ''))
      return await receive(pool, valid(uploadName, rest[2]), request)
    }
    if (request.method !== 'POST') throw refuse.notFound({ what: 'Path', id: request.url ?? '' })
    const asked = valid(body, await readJson(request))
    const name = rest.at(-1) ?? ''
    const hungUp = new AbortController()
    response.once('close', () => response.writableFinished || hungUp.abort(refuse.hostFailure({ what: 'its caller hung up' })))
    if (kind === 'host' && rest.length === 1 && isOf(hostCalls, name)) {
      const { args, changes } = hostCalls[name]
      const given = valid<unknown>(args, asked.args)
      // The implementation and its arguments are one row of the table; the compiler forgets that when the name varies.
      const call = this.#host[name] as (args: unknown, context: object) => Promise<unknown>
      return await this.#fenced(changes, asked.fence, hungUp.signal, log, (signal) =>
        call(given, { operation: asked.fence?.operation, signal, hungUp: hungUp.signal }),
      )
    }
    if (kind === 'pools' && rest.length === 2 && isOf(poolCalls, name)) {
      const pool = poolOf(this.#parts.pools, asId<PoolId>(rest[0] ?? ''))
      const { args, changes } = poolCalls[name]
      const given: unknown[] = valid<unknown[]>(args, asked.args)
      return await this.#fenced(changes, asked.fence, hungUp.signal, log, () => callPool(pool, name, given))
    }
    if (kind === 'mover' && rest.length === 1 && isOf(moverCalls, name)) {
      const { args, changes } = moverCalls[name]
      const given: unknown[] = valid<unknown[]>(args, asked.args)
      const lines = new LineAnswer(response)
      answer.lines = lines
      return await this.#fenced(changes, asked.fence, hungUp.signal, log, (signal) =>
        this.#parts.movers.call(name, given, lines.tell, AbortSignal.any([signal, hungUp.signal])),
      )
    }
    throw refuse.notFound({ what: 'Call', id: name })
  }

  async #fenced(
    changes: boolean,
    given: z.output<typeof fence> | null | undefined,
    hungUp: AbortSignal,
    log: Logger,
    work: (signal: AbortSignal) => Promise<unknown>,
  ): Promise<unknown> {
    if (!changes) {
      if (given) await this.#parts.fences.abandonedEnd(given)
      return await work(this.#closing.signal)
    }
    if (!given) throw refuse.malformed({ why: 'This call changes something and needs a fence.' })
    log.debug(given, 'fenced')
    return await this.#parts.fences.admit(given, hungUp, async (signal) => {
      await failpoint('agent.call.before')
      const result = await work(signal)
      await failpoint('agent.call.after')
      return result
    })
  }

  async #stream(after: number, response: ServerResponse): Promise<void> {
    const gone = new AbortController()
    response.once('close', () => gone.abort())
    response.writeHead(200, { 'content-type': 'application/x-ndjson' })
    response.flushHeaders()
    for await (const event of this.#parts.events.after(after, AbortSignal.any([gone.signal, this.#closing.signal])))
      response.write(`${JSON.stringify(event)}\n`)
    response.end()
  }
}

/** `lines`: since the call was recognized as one that is answered in lines. */
type Answering = { lines: LineAnswer | null }

const defect = { code: 'defect', kind: 'defect', message: '', facts: {} } as const

const isOf = <Table extends object>(table: Table, name: string): name is Extract<keyof Table, string> =>
  Object.hasOwn(table, name)

function valid<T>(schema: z.ZodType<T>, given: unknown): T {
  const parsed = schema.safeParse(given)
  if (parsed.success) return parsed.data
  throw refuse.malformed({ why: z.prettifyError(parsed.error) })
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request) {
    bytes += chunk.length
    if (bytes > mostBodyBytes) throw refuse.tooLarge({ limit: mostBodyBytes })
    chunks.push(chunk)
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'))
  } catch {
    throw refuse.malformed({ why: 'The body is not JSON.' })
  }
}

function send(response: ServerResponse, status: number, answer: object): void {
  if (response.headersSent || response.destroyed) return
  const text = JSON.stringify(answer)
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) })
  response.end(text)
}

/** What a caller is told: QEMU's own words and defects stay in the log. */
function refusalOf(error: unknown, log: Logger): Refusal | null {
  if (error instanceof Refusal) return error
  log.error({ err: error }, 'a call failed')
  if (error instanceof QmpTimeout) return refuse.hostFailure({ what: 'QEMU does not answer; it may be waiting for a disk' })
  if (error instanceof QmpClosed) return refuse.hostFailure({ what: 'the machine ended meanwhile' })
  if (error instanceof QmpRefused && saysLocked(error.message)) return refuse.layersBusy()
  if (error instanceof QmpRefused) return refuse.hostFailure({ what: `QEMU refused ${error.command}` })
  return null
}
