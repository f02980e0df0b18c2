/**
 * A client typed by the contract. A request is sent again when the connection breaks: every change carries an Idempotency-Key,
 * so it is still one operation. A stream that breaks goes on after the last event received.
 */
import { setTimeout as wait } from 'node:timers/promises'
import type { Answer, Endpoint, Request } from './endpoint.ts'
import { errorBody } from './errors.ts'
import { type OperationEventView, operationEvent } from './operations.ts'
import { readEvents } from './sse.ts'

/** The server said no. */
export class Refused extends Error {
  override readonly name = 'Refused'
  readonly status: number
  readonly code: string
  readonly facts: Readonly<Record<string, unknown>>
  readonly requestId: string | null

  constructor(
    status: number,
    code: string,
    message: string,
    facts: Readonly<Record<string, unknown>>,
    requestId: string | null,
  ) {
    super(message)
    this.status = status
    this.code = code
    this.facts = facts
    this.requestId = requestId
  }
}

/** No answer, or none that is ours. */
export class Unreachable extends Error {
  override readonly name = 'Unreachable'
}

export type ClientOptions = {
  /** Where `/v1` is, without it: `http://127.0.0.1:8774`. */
  readonly url: string
  /** Gives a token; asked again with `renew` when the server no longer takes it. */
  readonly token: (renew: boolean) => Promise<string>
  /** How long to try for when the server cannot be reached. */
  readonly patienceMs?: number
}

type CallOptions = { readonly signal?: AbortSignal; readonly idempotencyKey?: string }
type Streaming = Endpoint & { readonly gives: 'events' }

export type Client = {
  call<E extends Endpoint>(endpoint: E, request: Request<E>, options?: CallOptions): Promise<Answer<E>>
  /** Every event once, in order, over broken connections; ends when the server says that there are no more. */
  follow<E extends Streaming>(endpoint: E, request: Request<E>, options?: CallOptions): AsyncGenerator<OperationEventView>
}

const answerWithinMs = 120_000
/** The server sends something at least every 15 s. */
const silentForMs = 45_000
const firstPauseMs = 200
const longestPauseMs = 3_000

export function createClient({ url, token, patienceMs = 10_000 }: ClientOptions): Client {
  const send = async (endpoint: Endpoint, request: Parts, headers: Record<string, string>, signal: AbortSignal) => {
    const hasBody = endpoint.method === 'POST' || endpoint.method === 'PATCH'
    const json: Record<string, string> = hasBody ? { 'content-type': 'application/json' } : {}
    for (const renew of [false, true]) {
      const response = await reach(`${url}${pathOf(endpoint, request)}`, {
        method: endpoint.method,
        signal,
        headers: { accept: 'application/json', 'x-auth-token': await token(renew), ...headers, ...json },
        ...(hasBody ? { body: JSON.stringify(request.body ?? {}) } : {}),
      })
      if (response.status !== 401 || renew) return response
      await response.body?.cancel()
    }
    throw new Error('unreachable')
  }

  async function call<E extends Endpoint>(endpoint: E, request: Request<E>, options: CallOptions = {}): Promise<Answer<E>> {
    const key = { 'idempotency-key': options.idempotencyKey ?? crypto.randomUUID() }
    const headers = endpoint.method === 'GET' ? {} : key
    return await patiently(patienceMs, options.signal, async () => {
      const signal = anyOf(AbortSignal.timeout(answerWithinMs), options.signal)
      const response = await send(endpoint, request as Parts, headers, signal)
      const body = await bodyOf(response)
      if (!response.ok) throw refusedBy(response, body)
      const answer = endpoint.answer.safeParse(body)
      if (!answer.success) throw new Unreachable(`${url} answered in a way this version does not understand.`)
      return answer.data as Answer<E>
    })
  }

  async function* follow<E extends Streaming>(endpoint: E, request: Request<E>, options: CallOptions = {}) {
    let last: string | null = null
    for (;;) {
      const silence = watchdog(options.signal)
      try {
        const response = await patiently(patienceMs, options.signal, () =>
          send(
            endpoint,
            request as Parts,
            { accept: 'text/event-stream', ...(last === null ? {} : { 'last-event-id': last }) },
            silence.signal,
          ),
        )
        if (response.status === 204 || !response.body) return
        if (!response.ok) throw refusedBy(response, await bodyOf(response))
        for await (const { id, data } of readEvents(silence.over(response.body))) {
          const event = parsed(data)
          last = id
          yield event
          if (event.type === 'ended' && endpoint.path.includes('{operation}')) return
        }
      } catch (error) {
        if (options.signal?.aborted || error instanceof Refused || error instanceof Unreachable) throw error
      } finally {
        silence.stop()
      }
      await wait(firstPauseMs, undefined, { ...(options.signal ? { signal: options.signal } : {}) })
    }
  }

  return { call, follow }
}

type Parts = {
  readonly params?: Record<string, string>
  readonly query?: Record<string, unknown>
  readonly body?: unknown
}

function pathOf({ path }: Endpoint, { params = {}, query = {} }: Parts): string {
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(params[name] ?? ''))
  const given = new URLSearchParams()
  for (const [key, value] of Object.entries(query)) if (value !== undefined) given.set(key, String(value))
  return given.size === 0 ? filled : `${filled}?${given}`
}

const anyOf = (first: AbortSignal, second: AbortSignal | undefined) => (second ? AbortSignal.any([first, second]) : first)

async function reach(url: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(url, init)
  } catch (error) {
    throw new Unreachable(`Nothing answers at ${new URL(url).origin}${reasonOf(error)}. Is the controller running?`, {
      cause: error,
    })
  }
}

function reasonOf(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined
  return cause instanceof Error && 'code' in cause ? ` (${String(cause.code)})` : ''
}

/** Tries again while nothing answers, until patience ends. */
async function patiently<T>(patienceMs: number, signal: AbortSignal | undefined, attempt: () => Promise<T>): Promise<T> {
  const until = Date.now() + patienceMs
  for (let pause = firstPauseMs; ; pause = Math.min(pause * 2, longestPauseMs)) {
    try {
      return await attempt()
    } catch (error) {
      const passing = error instanceof Unreachable || (error instanceof Refused && error.code === 'databaseUnavailable')
      if (!passing || signal?.aborted || Date.now() + pause > until) throw error
    }
    await wait(pause)
  }
}

async function bodyOf(response: Response): Promise<unknown> {
  try {
    return JSON.parse(await response.text())
  } catch (error) {
    if (error instanceof SyntaxError) return null
    throw new Unreachable('The connection broke before the answer was complete.', { cause: error })
  }
}

function refusedBy(response: Response, body: unknown): Error {
  const parsed = errorBody.safeParse(body)
  if (!parsed.success)
    return new Unreachable(`${new URL(response.url).origin} answered ${response.status}, and not as Comeback does.`)
  const { code, message, facts = {}, request_id } = parsed.data.error
  return new Refused(response.status, code, message, facts, request_id)
}

function parsed(data: string): OperationEventView {
  try {
    return operationEvent.parse(JSON.parse(data))
  } catch (error) {
    throw new Unreachable('The server sent an event that this version does not understand.', { cause: error })
  }
}

/** Ends a connection on which nothing came for too long. */
function watchdog(outer: AbortSignal | undefined) {
  const silent = new AbortController()
  let timer = setTimeout(() => silent.abort(), silentForMs)
  const heard = () => {
    clearTimeout(timer)
    timer = setTimeout(() => silent.abort(), silentForMs)
  }
  return {
    signal: anyOf(silent.signal, outer),
    stop: () => {
      clearTimeout(timer)
      silent.abort()
    },
    over: async function* (body: AsyncIterable<Uint8Array>) {
      for await (const chunk of body) {
        heard()
        yield chunk
      }
    },
  }
}
