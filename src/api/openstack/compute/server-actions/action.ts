import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Caller } from '../../../../app/caller.ts'
import type { ApiNeeds } from '../../../http/needs.ts'

/** One `POST /servers/{id}/action`. */
export type ActionCall = {
  readonly needs: ApiNeeds
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  readonly caller: Caller
  /** As it stands in the path: not yet known to be anybody's instance. */
  readonly id: string
  readonly body: unknown
}
/** Answers, or sets a status and answers nothing. */
export type Action = (call: ActionCall) => Promise<unknown>
