/** What every request knows besides its HTTP: its id, who asks, and what will stand in the audit log about it. */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Caller } from '../../app/caller.ts'
import type { Session } from '../../app/identity/sessions.ts'
import { asId, type OperationId, type RequestId } from '../../domain/ids.ts'
import { refuse } from '../../domain/refusals.ts'

export type Microversion = readonly [major: number, minor: number]

declare module 'fastify' {
  interface FastifyRequest {
    session: Session | null
    microversion: Microversion
    /** What is written about a call that changes something: its action unless it is its route, what it was about, what it started. */
    audited: { action?: string; target?: string; operation?: OperationId; outcome?: string }
  }
  interface FastifyInstance {
    /** Aborted when the server is about to close: long answers end then. */
    stopping: AbortSignal
  }
}

export function decorateRequests(app: FastifyInstance): void {
  app.decorateRequest('session', null)
  app.decorateRequest('microversion', null as unknown as Microversion)
  app.decorateRequest('audited', null as unknown as FastifyRequest['audited'])
  app.addHook('onRequest', async (request) => {
    request.audited = {}
  })
}

export const requestIdOf = (request: FastifyRequest): RequestId => asId<RequestId>(request.id)

/** The session's user in its project. A token without a project is good for the identity service only. */
export function callerOf(request: FastifyRequest): Caller {
  const { session } = request
  if (!session) throw refuse.unauthenticated()
  const { user, userName, project, projectName, roles } = session
  if (project === null || projectName === null) throw refuse.unscoped()
  const key = request.headers['idempotency-key']
  if (key !== undefined && (typeof key !== 'string' || !/^[\x21-\x7e]{1,255}$/.test(key)))
    throw refuse.malformed({ why: 'An Idempotency-Key is 1 to 255 visible ASCII characters.' })
  return {
    user,
    userName,
    project,
    projectName,
    roles,
    requestId: requestIdOf(request),
    ...(key === undefined ? {} : { idempotencyKey: key }),
  }
}
