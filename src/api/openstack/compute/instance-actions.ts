import type { FastifyInstance, FastifyRequest } from 'fastify'
import { type ActionRow, actionsOf, eventsOf } from '../../../app/instance-history.ts'
import { findInstance } from '../../../app/instances.ts'
import { refuse } from '../../../domain/refusals.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { callerOf } from '../../http/request.ts'
import { speaks } from '../microversions.ts'
import { limitOf, moment, queryOf } from '../query.ts'
import { microseconds, nextLink } from './links.ts'

type ById = { Params: { id: string } }
type ByRequest = { Params: { id: string; request: string } }

/** What was done to an instance: its operations under Nova's names. */
export function instanceActions(app: FastifyInstance, needs: ApiNeeds): void {
  const path = '/v2.1/servers/:id/os-instance-actions'

  app.get<ById>(path, async (request) => {
    const { id } = await findInstance(needs, callerOf(request), request.params.id, 'os_compute_api:os-instance-actions:list')
    const query = queryOf(request)
    const since = speaks(request, 58) ? moment('changes-since', query.one('changes-since')) : undefined
    const all = (await actionsOf(needs.db, id)).filter(({ updatedAt }) => since === undefined || updatedAt >= since)
    if (!speaks(request, 58)) return { instanceActions: all.map((row) => view(request, row)) }
    const marker = query.one('marker')
    const start = marker === undefined ? 0 : all.findIndex(({ requestId }) => requestId === marker) + 1
    if (marker !== undefined && start === 0) throw refuse.malformed({ why: `marker [${marker.slice(0, 64)}] not found` })
    const page = all.slice(start, start + limitOf(query))
    const last = page.at(-1)
    const links =
      last && start + page.length < all.length
        ? {
            links: nextLink(
              request,
              needs.settings.publicUrl,
              `/compute/v2.1/servers/${id}/os-instance-actions`,
              last.requestId,
            ),
          }
        : {}
    return { instanceActions: page.map((row) => view(request, row)), ...links }
  })

  app.get<ByRequest>(`${path}/:request`, async (request) => {
    const { id } = await findInstance(needs, callerOf(request), request.params.id, 'os_compute_api:os-instance-actions:show')
    const wanted = request.params.request
    const found = (await actionsOf(needs.db, id)).find(({ requestId }) => requestId === wanted)
    if (!found) throw refuse.notFound({ what: `Action for request_id ${wanted} on instance`, id })
    const events =
      speaks(request, 51) || needs.policy.allows(callerOf(request), 'os_compute_api:os-instance-actions:events:details')
    return {
      instanceAction: {
        ...view(request, found),
        ...(events ? { events: (await eventsOf(needs.db, found.operation)).map(eventView) } : {}),
      },
    }
  })
}

const view = (request: FastifyRequest, row: ActionRow) => ({
  action: row.action,
  instance_uuid: row.instance,
  request_id: row.requestId,
  user_id: row.user,
  project_id: row.project,
  start_time: microseconds(row.startedAt),
  message: row.message,
  ...(speaks(request, 58) ? { updated_at: microseconds(row.updatedAt) } : {}),
})

const eventView = (event: Awaited<ReturnType<typeof eventsOf>>[number]) => ({
  event: event.step,
  start_time: microseconds(event.started_at),
  finish_time: event.ended_at && microseconds(event.ended_at),
  result: event.state === 'done' ? 'Success' : event.state === 'started' ? null : 'Error',
  traceback: null,
})
