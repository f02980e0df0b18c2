/** Small things that clients look at: zones, extensions, groups and aggregates of which there are none. */
import type { FastifyInstance } from 'fastify'
import { listHosts } from '../../../app/hosts.ts'
import { refuse } from '../../../domain/refusals.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { callerOf } from '../../http/request.ts'
import { microseconds } from './links.ts'

export function surroundings(app: FastifyInstance, { db, policy, settings }: ApiNeeds): void {
  const zone = { zoneName: 'nova', zoneState: { available: true } }
  app.get('/v2.1/os-availability-zone', async () => ({ availabilityZoneInfo: [{ ...zone, hosts: null }] }))

  app.get('/v2.1/os-availability-zone/detail', async (request) => {
    policy.require(callerOf(request), 'os_compute_api:os-availability-zone:detail')
    const hosts = (await listHosts(db, settings.hostSilentSeconds)).map(({ name, up, enabled, seen_at }) => [
      name,
      { 'nova-compute': { active: enabled, available: up, updated_at: seen_at && microseconds(seen_at) } },
    ])
    return { availabilityZoneInfo: [{ ...zone, hosts: Object.fromEntries(hosts) }] }
  })

  app.get('/v2.1/os-aggregates', async (request) => {
    policy.require(callerOf(request), 'os_compute_api:os-aggregates:index')
    return { aggregates: [] }
  })

  app.get('/v2.1/os-server-groups', async () => ({ server_groups: [] }))
  app.get('/v2.1/extensions', async () => ({ extensions: [] }))
  app.get<{ Params: { alias: string } }>('/v2.1/extensions/:alias', async (request) => {
    throw refuse.notFound({ what: 'Extension', id: request.params.alias })
  })
}
