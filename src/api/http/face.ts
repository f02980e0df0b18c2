/**
 * A face is a set of routes under one prefix that says no in its own words. This file knows what they have in common: who is let
 * in, how a failure is turned into the face's envelope, and that a known path with a wrong method is 405.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods } from 'fastify'
import { findSession } from '../../app/identity/sessions.ts'
import { refuse } from '../../domain/refusals.ts'
import type { Db } from '../../ports/tables.ts'
import { type Failure, failureOf, logFailure } from './failures.ts'

export type Envelope = (failure: Failure, request: FastifyRequest, reply: FastifyReply) => unknown

export type Face = {
  readonly prefix: string
  readonly envelope: Envelope
  /** After a token was found good: sets headers that every such answer has, errors too, and refuses what no route should see. */
  readonly onRequest?: (request: FastifyRequest, reply: FastifyReply) => void
  readonly routes: (app: FastifyInstance) => void
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Discovery and logging in need no token. */
    open?: boolean
  }
}

/** For a route that needs no token. */
export const open = { config: { open: true } } as const

export async function addFace(app: FastifyInstance, db: Db, face: Face): Promise<void> {
  await app.register(
    async (scope) => {
      const known = new Map<string, Set<string>>()
      scope.addHook('onRoute', ({ url, method }) => {
        const methods = known.get(url) ?? new Set()
        for (const each of [method].flat()) methods.add(each)
        known.set(url, methods)
      })
      scope.addHook('onRequest', async (request, reply) => {
        if (request.is404 || request.routeOptions.config.open === true) return
        await authenticate(request, db)
        face.onRequest?.(request, reply)
      })
      scope.setErrorHandler((error, request, reply) => answerFailure(face.envelope, error, request, reply))
      scope.setNotFoundHandler(async (request, reply) => {
        await answerFailure(face.envelope, refuse.noSuchPath(), request, reply)
      })
      face.routes(scope)
      for (const [url, methods] of known) refuseOtherMethods(scope, face, url.slice(face.prefix.length), methods)
    },
    { prefix: face.prefix },
  )
}

export async function answerFailure(envelope: Envelope, error: unknown, request: FastifyRequest, reply: FastifyReply) {
  const failure = failureOf(error)
  logFailure(request, failure, error)
  reply.code(failure.status)
  const { retry_after_seconds: seconds } = failure.facts
  if (typeof seconds === 'number') reply.header('retry-after', seconds)
  const body = envelope(failure, request, reply)
  return reply.send(body)
}

export async function authenticate(request: FastifyRequest, db: Db): Promise<void> {
  const token = request.headers['x-auth-token']
  request.session = typeof token === 'string' && token.length <= 255 ? await findSession(db, token) : null
  if (!request.session) throw refuse.unauthenticated()
}

const allMethods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const satisfies readonly HTTPMethods[]

function refuseOtherMethods(scope: FastifyInstance, face: Face, url: string, methods: ReadonlySet<string>): void {
  const others = allMethods.filter((method) => !methods.has(method))
  if (others.length === 0) return
  scope.route({
    method: others,
    url,
    exposeHeadRoute: false,
    handler: async (request, reply) => {
      reply.header('allow', [...methods].sort().join(', '))
      const failure: Failure = {
        status: 405,
        code: 'methodNotAllowed',
        message: `${request.method} is not possible here.`,
        facts: {},
      }
      logFailure(request, failure, undefined)
      reply.code(405)
      return reply.send(face.envelope(failure, request, reply))
    },
  })
}
