import type { FastifyRequest } from 'fastify'
import type { Session } from '../../../app/identity/sessions.ts'
import { refuse } from '../../../domain/refusals.ts'

export type ById = { Params: { id: string } }

/** The identity service also talks to those who have no project yet. */
export function askerOf(request: FastifyRequest): Session {
  if (!request.session) throw refuse.unauthenticated()
  return request.session
}
