import type { FastifyInstance, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { enableHost, type HostRow, listHosts } from '../../../app/hosts.ts'
import { refuse } from '../../../domain/refusals.ts'
import { read } from '../../http/bodies.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { callerOf } from '../../http/request.ts'
import { requireMicroversion, speaks } from '../microversions.ts'
import { printable } from '../names.ts'
import { queryOf } from '../query.ts'
import { microseconds } from './links.ts'

const change = z.strictObject({
  status: z.enum(['enabled', 'disabled']).optional(),
  disabled_reason: printable(255).nullish(),
  forced_down: z.literal(false, { message: 'Forcing a host down is not offered' }).optional(),
})
const oldChange = z.strictObject({
  host: z.string().max(255),
  binary: z.literal('nova-compute'),
  disabled_reason: printable(255).optional(),
})

/** One `nova-compute` per host: the agent. */
export function services(app: FastifyInstance, { db, policy, settings }: ApiNeeds): void {
  app.get('/v2.1/os-services', async (request) => {
    policy.require(callerOf(request), 'os_compute_api:os-services:list')
    const query = queryOf(request)
    const host = query.one('host')
    const hosts =
      (query.one('binary') ?? 'nova-compute') === 'nova-compute' ? await listHosts(db, settings.hostSilentSeconds) : []
    return { services: hosts.filter(({ name }) => host === undefined || name === host).map((row) => view(request, row)) }
  })

  app.put<{ Params: { id: string } }>('/v2.1/os-services/:id', async (request) => {
    request.audited.action = 'os_compute_api:os-services:update'
    const caller = callerOf(request)
    policy.require(caller, 'os_compute_api:os-services:update')
    const { id } = request.params
    if (!speaks(request, 53)) return await oldUpdate(id, request)
    const { status, disabled_reason: reason } = read(change, request.body)
    if (reason && status !== 'disabled') throw refuse.malformed({ why: 'A disabled_reason is given with the status disabled.' })
    const found = await hostBy('id', id)
    if (status) await enableHost(db, found.id, status === 'enabled', reason ?? null)
    return { service: view(request, await hostBy('id', id)) }
  })

  /** Up to 2.52 the path says what to do. */
  async function oldUpdate(action: string, request: FastifyRequest) {
    if (action !== 'enable' && action !== 'disable' && action !== 'disable-log-reason')
      throw refuse.notFound({ what: 'Action', id: action })
    const { host, binary, disabled_reason: reason } = read(oldChange, request.body)
    const found = await hostBy('name', host)
    await enableHost(db, found.id, action === 'enable', reason ?? null)
    const status = action === 'enable' ? 'enabled' : 'disabled'
    return { service: { host, binary, status, ...(reason === undefined ? {} : { disabled_reason: reason }) } }
  }

  app.delete<{ Params: { id: string } }>('/v2.1/os-services/:id', async (request) => {
    requireMicroversion(request, 1)
    policy.require(callerOf(request), 'os_compute_api:os-services:update')
    throw refuse.notImplemented({ what: 'Forgetting a host' })
  })

  async function hostBy(field: 'id' | 'name', value: string): Promise<HostRow> {
    const found = (await listHosts(db, settings.hostSilentSeconds)).find((host) => host[field] === value)
    if (!found) throw refuse.notFound({ what: field === 'id' ? 'Compute service' : 'Compute host', id: value })
    return found
  }
}

const view = (request: FastifyRequest, host: HostRow) => ({
  id: speaks(request, 53) ? host.id : host.ordinal,
  binary: 'nova-compute',
  host: host.name,
  zone: 'nova',
  status: host.enabled ? 'enabled' : 'disabled',
  state: host.up ? 'up' : 'down',
  updated_at: host.seen_at && microseconds(host.seen_at),
  disabled_reason: host.disabled_reason,
  ...(speaks(request, 11) ? { forced_down: false } : {}),
})
