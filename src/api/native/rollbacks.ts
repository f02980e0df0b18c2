import type { FastifyInstance } from 'fastify'
import type { z } from 'zod'
import { endpoints } from '../../../contract/index.ts'
import type { PreflightView, rollbackRequest } from '../../../contract/rollbacks.ts'
import type { Preflight, RollbackRequest } from '../../app/commands.ts'
import type { NativeNeeds } from './needs.ts'
import { serve, serveOperation } from './serve.ts'
import { wire } from './wire.ts'

export function rollbackRoutes(app: FastifyInstance, needs: NativeNeeds): void {
  const { commands } = needs

  serveOperation(app, needs, endpoints.rollBackInstance, async ({ caller, params, body, reply }) => {
    const { operation, repeated } = await commands.rollback(caller, params.instance, requestOf(body))
    if (repeated) reply.header('idempotent-replay', 'true')
    return { operation }
  })

  serve(app, endpoints.preflightInstance, async ({ caller, params, body }) =>
    viewOf(await commands.preflightRollback(caller, params.instance, requestOf(body))),
  )

  serve(app, endpoints.preflightSnapshot, async ({ caller, body }) =>
    viewOf(await commands.preflightRollback(caller, null, requestOf(body))),
  )
}

const requestOf = (body: z.output<typeof rollbackRequest>): RollbackRequest => ({
  target: 'instance_snapshot' in body.to ? { image: body.to.instance_snapshot } : body.to,
  disks: body.disks ?? null,
  powerStateAfter: body.power_state_after,
  skipSafetySnapshot: body.skip_safety_snapshot,
  stop: { mode: body.stop, graceSeconds: body.stop_seconds },
})

/** The same fields in this interface's spelling; the answer's schema checks it. */
const viewOf = (preflight: Preflight) => wire(preflight) as PreflightView
