/** `POST /servers/{id}/action`: the body's one key says which. */
import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { refuse } from '../../../../domain/refusals.ts'
import { read } from '../../../http/bodies.ts'
import type { ApiNeeds } from '../../../http/needs.ts'
import { callerOf } from '../../../http/request.ts'
import type { Action } from './action.ts'
import { console } from './console.ts'
import { createImage } from './create-image.ts'
import { lock, unlock } from './lock.ts'
import { reboot, start, stop } from './power.ts'
import { resetState } from './reset-state.ts'
import { rollback, rollbackDryRun } from './rollback.ts'

const actions: Readonly<Record<string, Action>> = {
  'os-start': start,
  'os-stop': stop,
  reboot,
  createImage,
  'os-getConsoleOutput': console,
  lock,
  unlock,
  'os-resetState': resetState,
  'xloud-rollback': rollback,
  'xloud-rollback-dry-run': rollbackDryRun,
}

const one = z.record(z.string(), z.unknown())

export function serverActions(app: FastifyInstance, needs: ApiNeeds): void {
  app.post<{ Params: { id: string } }>('/v2.1/servers/:id/action', async (request, reply) => {
    const entries = Object.entries(read(one, request.body))
    const [entry] = entries
    if (!entry || entries.length > 1) throw refuse.malformed({ why: 'There must be exactly one action in the body.' })
    const [name, body] = entry
    const action = Object.hasOwn(actions, name) ? actions[name] : undefined
    if (!action) throw refuse.malformed({ why: `There is no such action: ${name.slice(0, 60)}` })
    request.audited.action = name
    request.audited.target = request.params.id
    const answer = await action({ needs, request, reply, caller: callerOf(request), id: request.params.id, body })
    return answer === undefined ? reply.send() : answer
  })
}
