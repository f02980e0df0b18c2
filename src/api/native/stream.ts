/** Server-sent events: written as fast as the reader reads, and resumed by the number of the last event. */
import { once } from 'node:events'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { OperationEventView } from '../../../contract/operations.ts'
import { gone } from './serve.ts'

const heartbeatMs = 15_000
/** A reader that takes nothing for so long is let go; it may resume. */
const stuckMs = 60_000
/** After so long the client connects anew, so that a revoked token does not listen for ever. */
const longestMs = 15 * 60_000

export type EventSource = (signal: AbortSignal) => AsyncIterable<OperationEventView>

/** Ends after an event that `last` is true of, or when either side goes away. */
export async function sendEvents(
  request: FastifyRequest,
  reply: FastifyReply,
  source: EventSource,
  last: (event: OperationEventView) => boolean,
): Promise<FastifyReply> {
  reply.hijack()
  const stream = reply.raw
  const over = new AbortController()
  const signal = AbortSignal.any([over.signal, gone(reply), request.server.stopping, AbortSignal.timeout(longestMs)])
  stream.writeHead(200, {
    ...(reply.getHeaders() as Record<string, string>),
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache, no-transform',
    'x-accel-buffering': 'no',
  })
  stream.write('retry: 1000\n\n')
  const heartbeat = setInterval(() => stream.writableNeedDrain || stream.write(': still here\n\n'), heartbeatMs)
  try {
    for await (const event of source(signal)) {
      if (!stream.write(frame(event)))
        await once(stream, 'drain', { signal: AbortSignal.any([signal, AbortSignal.timeout(stuckMs)]) })
      if (last(event)) break
    }
  } catch (error) {
    if (!(error instanceof Error && error.name === 'AbortError')) request.log.error({ err: error }, 'event stream broke')
  } finally {
    clearInterval(heartbeat)
    over.abort()
    stream.end()
  }
  return reply
}

const frame = (event: OperationEventView) => `id: ${event.seq}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`
