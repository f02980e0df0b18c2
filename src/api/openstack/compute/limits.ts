import type { FastifyInstance } from 'fastify'
import type { ProjectId } from '../../../domain/ids.ts'
import { asId } from '../../../domain/ids.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { callerOf } from '../../http/request.ts'
import { speaks } from '../microversions.ts'
import { queryOf } from '../query.ts'

const unlimited = -1

/** There are no quotas: every limit is shown as none, and what is used as it is. */
export function limits(app: FastifyInstance, { db, policy }: ApiNeeds): void {
  app.get('/v2.1/limits', async (request) => {
    const caller = callerOf(request)
    const asked = queryOf(request).one('tenant_id')
    if (asked !== undefined && asked !== caller.project) policy.require(caller, 'os_compute_api:servers:index:get_all_tenants')
    const { instances, cores, ram } = await usedBy(asked === undefined ? caller.project : asId<ProjectId>(asked))
    return {
      limits: {
        rate: [],
        absolute: {
          maxTotalInstances: unlimited,
          maxTotalCores: unlimited,
          maxTotalRAMSize: unlimited,
          maxTotalKeypairs: unlimited,
          maxServerMeta: 128,
          maxServerGroups: 0,
          maxServerGroupMembers: 0,
          totalInstancesUsed: instances,
          totalCoresUsed: cores,
          totalRAMUsed: ram,
          totalServerGroupsUsed: 0,
          ...(speaks(request, 57) ? {} : { maxPersonality: 0, maxPersonalitySize: 0 }),
          ...(speaks(request, 39) ? {} : { maxImageMeta: 128 }),
        },
      },
    }
  })

  for (const path of ['/v2.1/os-quota-sets/:id', '/v2.1/os-quota-sets/:id/defaults'])
    app.get<{ Params: { id: string } }>(path, async (request) => {
      const { id } = request.params
      policy.require(callerOf(request), 'os_compute_api:os-quota-sets:show', { project_id: id })
      return { quota_set: { id, ...Object.fromEntries(quotas.map((name) => [name, unlimited])), metadata_items: 128 } }
    })

  async function usedBy(project: ProjectId) {
    const rows = await db
      .selectFrom('instances')
      .select('flavor')
      .where('project_id', '=', project)
      .where('deleted_at', 'is', null)
      .execute()
    const sum = (of: (flavor: (typeof rows)[number]['flavor']) => number) =>
      rows.reduce((total, { flavor }) => total + of(flavor), 0)
    return { instances: rows.length, cores: sum(({ vcpus }) => vcpus), ram: sum(({ ramMib }) => ramMib) }
  }
}

const quotas = ['instances', 'cores', 'ram', 'key_pairs', 'server_groups', 'server_group_members'] as const
