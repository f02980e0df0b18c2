/** Puts endpoints of the contract on the server: checks requests by their schemas and answers in their shape. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { z } from 'zod'
import type { Answer, Endpoint } from '../../../contract/endpoint.ts'
import type { operationWithSteps } from '../../../contract/operations.ts'
import type { Caller } from '../../app/caller.ts'
import type { OperationId } from '../../domain/ids.ts'
import { refuse } from '../../domain/refusals.ts'
import { callerOf } from '../http/request.ts'
import type { NativeNeeds } from './needs.ts'
import { viewWithSteps } from './operation-view.ts'

export type Call<E extends Endpoint> = {
  readonly caller: Caller
  readonly params: z.output<E['params']>
  readonly query: z.output<E['query']>
  readonly body: z.output<E['body']>
  readonly request: FastifyRequest
  readonly reply: FastifyReply
}

/** An endpoint that answers a value. */
export function serve<E extends Endpoint>(
  app: FastifyInstance,
  endpoint: E & { readonly gives: 'value' },
  handle: (call: Call<E>) => Promise<Answer<E>>,
): void {
  route(app, endpoint, async (call) => call.reply.send(endpoint.answer.parse(await handle(call))))
}

type OperationView = z.output<typeof operationWithSteps>
/** What the handler of an operation answers: the operation's id, and the ids of what it creates. */
type Begun<E extends Endpoint> = Omit<Answer<E> & object, 'operation'> & { readonly operation: OperationId }

/** An endpoint that starts an operation: 202 and where to look, or with `Prefer: wait` how it ended. */
export function serveOperation<E extends Endpoint>(
  app: FastifyInstance,
  needs: NativeNeeds,
  endpoint: E & { readonly gives: 'operation' },
  handle: (call: Call<E>) => Promise<Begun<E>>,
): void {
  route(app, endpoint, async (call) => {
    const { request, reply } = call
    const seconds = preferredWait(request.headers['prefer'])
    const begun = await handle(call)
    request.audited.operation = begun.operation
    const waited = seconds !== null && (await waitFor(needs, begun.operation, seconds, reply))
    const operation: OperationView = await viewWithSteps(needs, begun.operation)
    reply.header('location', `/v1/operations/${begun.operation}`).code(waited ? 200 : 202)
    return reply.send(endpoint.answer.parse({ ...begun, operation }))
  })
}

/** An endpoint whose handler writes the answer itself. */
export function serveStream<E extends Endpoint>(
  app: FastifyInstance,
  endpoint: E & { readonly gives: 'events' },
  handle: (call: Call<E>) => Promise<FastifyReply>,
): void {
  route(app, endpoint, handle)
}

function route<E extends Endpoint>(app: FastifyInstance, endpoint: E, handle: (call: Call<E>) => Promise<FastifyReply>): void {
  app.route({
    method: endpoint.method,
    url: endpoint.path.replace('/v1', '').replace(/\{(\w+)\}/g, ':$1'),
    exposeHeadRoute: false,
    handler: async (request, reply) => {
      const caller = callerOf(request)
      request.audited.action = `native:${endpoint.id}`
      return await handle({
        caller,
        params: endpoint.params.parse(request.params) as z.output<E['params']>,
        query: endpoint.query.parse(request.query) as z.output<E['query']>,
        body: endpoint.body.parse(request.body ?? {}) as z.output<E['body']>,
        request,
        reply,
      })
    },
  })
}

const longestWaitSeconds = 600

/** Whether the operation ended while the client waited; it goes on either way. */
async function waitFor({ operations }: NativeNeeds, id: OperationId, seconds: number, reply: FastifyReply): Promise<boolean> {
  reply.header('preference-applied', `wait=${seconds}`)
  const enough = AbortSignal.any([AbortSignal.timeout(seconds * 1000), gone(reply), reply.server.stopping])
  try {
    await operations.ended(id, enough)
    return true
  } catch (error) {
    if (enough.aborted) return false
    throw error
  }
}

/** RFC 7240: `wait=30`; a bare `wait` means as long as we would. */
function preferredWait(header: string | string[] | undefined): number | null {
  if (header === undefined) return null
  const wait = /(?:^|[,;])\s*wait(?:\s*=\s*"?(\d+)"?)?\s*(?:$|[,;])/i.exec(String(header))
  if (!wait) return null
  const seconds = wait[1] === undefined ? longestWaitSeconds : Number(wait[1])
  if (seconds < 1) throw refuse.malformed({ why: 'Prefer: wait takes whole seconds, at least 1.' })
  return Math.min(seconds, longestWaitSeconds)
}

/** Aborted when the client goes away. */
export function gone(reply: FastifyReply): AbortSignal {
  const left = new AbortController()
  reply.raw.once('close', () => left.abort())
  return left.signal
}
