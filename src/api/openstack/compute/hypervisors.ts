import type { FastifyInstance, FastifyRequest } from 'fastify'
import { type HostRow, listHosts } from '../../../app/hosts.ts'
import type { PolicyName } from '../../../app/policy/policy.ts'
import { refuse } from '../../../domain/refusals.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { callerOf } from '../../http/request.ts'
import { speaks } from '../microversions.ts'
import { boolean, queryOf } from '../query.ts'

type ById = { Params: { id: string } }

export function hypervisors(app: FastifyInstance, { db, policy, settings }: ApiNeeds): void {
  const path = '/v2.1/os-hypervisors'

  app.get(path, async (request) => {
    const found = await named(request, 'os_compute_api:os-hypervisors:list')
    return { hypervisors: found.map((host) => ({ ...brief(request, host), ...withServers(request, host) })) }
  })

  app.get(`${path}/detail`, async (request) => {
    const found = await named(request, 'os_compute_api:os-hypervisors:list-detail')
    return { hypervisors: found.map((host) => ({ ...full(request, host), ...withServers(request, host) })) }
  })

  app.get(`${path}/statistics`, async (request) => {
    if (speaks(request, 88)) throw refuse.noSuchPath()
    policy.require(callerOf(request), 'os_compute_api:os-hypervisors:statistics')
    const hosts = (await listHosts(db, settings.hostSilentSeconds)).filter(({ enabled }) => enabled)
    const total: Record<string, number> = { count: hosts.length, current_workload: 0 }
    for (const host of hosts)
      for (const [name, value] of Object.entries(resources(host))) total[name] = (total[name] ?? 0) + value
    return { hypervisor_statistics: total }
  })

  app.get<ById>(`${path}/:id`, async (request) => {
    const host = await one(request, 'os_compute_api:os-hypervisors:show')
    return { hypervisor: { ...full(request, host), ...withServers(request, host) } }
  })

  app.get<ById>(`${path}/:id/uptime`, async (request) => {
    if (speaks(request, 88)) throw refuse.noSuchPath()
    await one(request, 'os_compute_api:os-hypervisors:uptime')
    throw refuse.notImplemented({ what: 'The uptime of a host' })
  })

  async function named(request: FastifyRequest, rule: PolicyName): Promise<HostRow[]> {
    policy.require(callerOf(request), rule)
    const pattern = queryOf(request).one('hypervisor_hostname_pattern')?.toLowerCase()
    const found = (await listHosts(db, settings.hostSilentSeconds)).filter(
      ({ name }) => pattern === undefined || name.toLowerCase().includes(pattern),
    )
    if (pattern !== undefined && found.length === 0)
      throw refuse.malformed({ why: `No hypervisor matching '${pattern.slice(0, 100)}' could be found.` })
    return found
  }

  async function one(request: FastifyRequest<ById>, rule: PolicyName): Promise<HostRow> {
    policy.require(callerOf(request), rule)
    const { id } = request.params
    const found = (await listHosts(db, settings.hostSilentSeconds)).find((host) => idFor(request, host) === id)
    if (!found) throw refuse.notFound({ what: 'Compute host', id })
    return found
  }
}

/** Since 2.53 its UUID, before that a number. */
const idFor = (request: FastifyRequest, host: HostRow) => (speaks(request, 53) ? host.id : String(host.ordinal))

const brief = (request: FastifyRequest, host: HostRow) => ({
  id: speaks(request, 53) ? host.id : host.ordinal,
  hypervisor_hostname: host.name,
  state: host.up ? 'up' : 'down',
  status: host.enabled ? 'enabled' : 'disabled',
})

const full = (request: FastifyRequest, host: HostRow) => ({
  ...brief(request, host),
  hypervisor_type: 'QEMU',
  hypervisor_version: versionNumber(host.facts.qemuVersion),
  host_ip: '127.0.0.1',
  service: { id: speaks(request, 53) ? host.id : host.ordinal, host: host.name, disabled_reason: host.disabled_reason },
  ...(speaks(request, 88)
    ? { uptime: null }
    : {
        ...resources(host),
        current_workload: 0,
        cpu_info: speaks(request, 28) ? {} : '{}',
        disk_available_least: host.diskFreeGib,
      }),
})

const resources = (host: HostRow) => {
  const { vcpus = 0, memoryMib = 0 } = host.facts
  return {
    vcpus,
    vcpus_used: host.vcpusUsed,
    memory_mb: memoryMib,
    memory_mb_used: host.ramUsedMib,
    free_ram_mb: memoryMib - host.ramUsedMib,
    local_gb: host.diskGib,
    local_gb_used: host.diskGib - host.diskFreeGib,
    free_disk_gb: host.diskFreeGib,
    running_vms: host.running,
  }
}

/** 8.2.1 is 8002001, as libvirt counts. */
function versionNumber(version: string | undefined): number {
  const [major = 0, minor = 0, patch = 0] =
    /(\d+)\.(\d+)(?:\.(\d+))?/
      .exec(version ?? '')
      ?.slice(1)
      .map((part) => Number(part ?? 0)) ?? []
  return major * 1_000_000 + minor * 1000 + patch
}

/** Asked for, or from 2.75 on shown always when there are any. */
function withServers(request: FastifyRequest, host: HostRow) {
  const asked = speaks(request, 53) && boolean('with_servers', queryOf(request).one('with_servers')) === true
  if (!asked || host.instances.length === 0) return asked && speaks(request, 75) ? { servers: [] } : {}
  return { servers: host.instances.map(({ id, name }) => ({ uuid: id, name })) }
}
