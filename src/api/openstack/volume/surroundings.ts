/** Limits (there are none), services, the one zone. */
import type { FastifyInstance } from 'fastify'
import { listHosts } from '../../../app/hosts.ts'
import { listSnapshots, listVolumes } from '../../../app/volumes.ts'
import { asId, type ProjectId } from '../../../domain/ids.ts'
import { refuse } from '../../../domain/refusals.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { callerOf } from '../../http/request.ts'
import { boolean, queryOf } from '../query.ts'
import { gibOf, microseconds } from './views.ts'

const unlimited = -1

export function surroundings(app: FastifyInstance, needs: ApiNeeds): void {
  const { db, policy, settings } = needs

  app.get('/v3/limits', async (request) => {
    const { volumes, snapshots, gigabytes } = await usedBy(callerOf(request).project)
    return {
      limits: {
        rate: [],
        absolute: {
          maxTotalVolumes: unlimited,
          maxTotalVolumeGigabytes: unlimited,
          maxTotalSnapshots: unlimited,
          maxTotalBackups: 0,
          maxTotalBackupGigabytes: 0,
          totalVolumesUsed: volumes,
          totalGigabytesUsed: gigabytes,
          totalSnapshotsUsed: snapshots,
          totalBackupsUsed: 0,
          totalBackupGigabytesUsed: 0,
        },
      },
    }
  })

  app.get<{ Params: { id: string } }>('/v3/os-quota-sets/:id', async (request) => {
    const { id } = request.params
    policy.require(callerOf(request), 'os_compute_api:os-quota-sets:show', { project_id: id })
    const used = await usedBy(asId<ProjectId>(id))
    const usage = boolean('usage', queryOf(request).one('usage')) ?? false
    const shown = (inUse: number) => (usage ? { limit: unlimited, in_use: inUse, reserved: 0, allocated: 0 } : unlimited)
    return {
      quota_set: {
        id,
        volumes: shown(used.volumes),
        snapshots: shown(used.snapshots),
        gigabytes: shown(used.gigabytes),
        per_volume_gigabytes: shown(0),
      },
    }
  })

  app.get('/v3/os-services', async (request) => {
    policy.require(callerOf(request), 'volume_extension:services:index')
    const [pools, hosts] = await Promise.all([
      db.selectFrom('pools').selectAll().execute(),
      listHosts(db, settings.hostSilentSeconds),
    ])
    const state = hosts.some(({ up }) => up) ? 'up' : 'down'
    return {
      services: pools.map((pool) => ({
        binary: 'cinder-volume',
        host: pool.name,
        zone: 'nova',
        status: 'enabled',
        state,
        updated_at: pool.measured_at && microseconds(pool.measured_at),
        disabled_reason: null,
      })),
    }
  })

  app.get('/v3/os-availability-zone', async () => ({
    availabilityZoneInfo: [{ zoneName: 'nova', zoneState: { available: true } }],
  }))
  app.get('/v3/extensions', async () => ({ extensions: [] }))
  app.get<{ Params: { alias: string } }>('/v3/extensions/:alias', async (request) => {
    throw refuse.notFound({ what: 'Extension', id: request.params.alias })
  })

  async function usedBy(project: ProjectId) {
    const [volumes, snapshots] = await Promise.all([listVolumes(needs, project), listSnapshots(needs, project)])
    const gigabytes = [...volumes, ...snapshots].reduce((total, { size_bytes: bytes }) => total + gibOf(bytes), 0)
    return { volumes: volumes.length, snapshots: snapshots.length, gigabytes }
  }
}
