import type { FastifyInstance } from 'fastify'
import { endpoints } from '../../../contract/index.ts'
import type { OperationEventView } from '../../../contract/operations.ts'
import { originOf } from '../../app/caller.ts'
import { undoRollback } from '../../app/undo-rollback.ts'
import { lastEvent, listOperations, operationFor } from '../../app/views/operations.ts'
import { scopeOf } from '../../app/views/visible.ts'
import type { OperationId, ProjectId } from '../../domain/ids.ts'
import { hasEnded } from '../../domain/operation.ts'
import type { NativeNeeds } from './needs.ts'
import { eventView, viewOf, viewWithSteps } from './operation-view.ts'
import { serve, serveOperation, serveStream } from './serve.ts'
import { sendEvents } from './stream.ts'
import { resumeAfter } from './wire.ts'

export function operationRoutes(app: FastifyInstance, needs: NativeNeeds): void {
  const { operations, db } = needs

  serve(app, endpoints.listOperations, async ({ caller, query }) => {
    const { all_projects, active, ...filter } = query
    const all = all_projects === 'true'
    const { items, next } = await listOperations(needs, caller, { ...filter, all, active: active === 'true' })
    return { items: items.map(viewOf), next }
  })

  serve(app, endpoints.showOperation, async ({ caller, params }) => {
    await operationFor(needs, caller, params.operation)
    return viewWithSteps(needs, params.operation)
  })

  serve(app, endpoints.cancelOperation, async ({ caller, params }) => {
    await operationFor(needs, caller, params.operation, 'comeback:operations:cancel')
    await operations.cancel(params.operation)
    return viewWithSteps(needs, params.operation)
  })

  serve(app, endpoints.forceEndOperation, async ({ caller, params }) => {
    await operationFor(needs, caller, params.operation, 'comeback:operations:force_end')
    await operations.forceEnd(params.operation, originOf(caller))
    return viewWithSteps(needs, params.operation)
  })

  serveOperation(app, needs, endpoints.undoOperation, async ({ caller, params, body }) =>
    undoRollback(needs, caller, params.operation, {
      disks: body.disks ?? null,
      powerStateAfter: body.power_state_after,
      stop: { mode: body.stop, graceSeconds: body.stop_seconds },
    }),
  )

  serveStream(app, endpoints.watchOperation, async ({ caller, params, query, request, reply }) => {
    const { id, state } = await operationFor(needs, caller, params.operation)
    const after = resumeAfter(request.headers['last-event-id'], query.after) ?? 0
    // Tells an EventSource that there is nothing left to come back for.
    if (hasEnded(state) && after >= (await lastEvent(db, id))) return reply.code(204).send()
    return sendEvents(request, reply, follow(needs, { operation: id, after }), ({ type }) => type === 'ended')
  })

  serveStream(app, endpoints.watchOperations, async ({ caller, query, request, reply }) => {
    const rules = { one: 'comeback:operations:list', all: 'comeback:operations:list_all' } as const
    const scope = scopeOf(needs, caller, rules, query.all_projects === 'true')
    const after = resumeAfter(request.headers['last-event-id'], query.after) ?? (await lastEvent(db))
    const filter = scope === 'all' ? { after } : { after, project: scope }
    return sendEvents(request, reply, follow(needs, filter), () => false)
  })
}

type Filter = { operation?: OperationId; project?: ProjectId; after: number }

const follow = ({ operations }: NativeNeeds, filter: Filter) =>
  async function* (signal: AbortSignal): AsyncGenerator<OperationEventView> {
    for await (const event of operations.events(filter, signal)) yield eventView(event)
  }
