/** Limits (there are none), services, the one zone. */
import type { FastifyInstance } from 'fastify'
import { listHosts } from '../../../app/hosts.ts'
import { listAllBackups } from '../../../app/views/backups.ts'
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
    const { volumes, snapshots, gigabytes, backups, backupGigabytes } = await usedBy(callerOf(request).project)
    return {
      limits: {
        rate: [],
        absolute: {
          maxTotalVolumes: unlimited,
          maxTotalVolumeGigabytes: unlimited,
          maxTotalSnapshots: unlimited,
          maxTotalBackups: unlimited,
          maxTotalBackupGigabytes: unlimited,
          totalVolumesUsed: volumes,
          totalGigabytesUsed: gigabytes,
          totalSnapshotsUsed: snapshots,
          totalBackupsUsed: backups,
          totalBackupGigabytesUsed: backupGigabytes,
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
        backups: shown(used.backups),
        backup_gigabytes: shown(used.backupGigabytes),
        per_volume_gigabytes: shown(0),
      },
    }
  })

  app.get('/v3/os-services', async (request) => {
    policy.require(callerOf(request), 'volume_extension:services:index')
    const [pools, vaults, hosts] = await Promise.all([
      db.selectFrom('pools').selectAll().execute(),
      db.selectFrom('vaults').select(['name', 'tested_at', 'test_problem']).execute(),
      listHosts(db, settings.hostSilentSeconds),
    ])
    const up = hosts.some((host) => host.up)
    const service = (binary: string, host: string, well: boolean, at: Date | null) => ({
      binary,
      host,
      zone: 'nova',
      status: 'enabled',
      state: up && well ? 'up' : 'down',
      updated_at: at && microseconds(at),
      disabled_reason: null,
    })
    return {
      services: [
        ...pools.map(({ name, measured_at }) => service('cinder-volume', name, true, measured_at)),
        ...vaults.map(({ name, tested_at, test_problem }) => service('cinder-backup', name, test_problem === null, tested_at)),
      ],
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
    const [volumes, snapshots, backups] = await Promise.all([
      listVolumes(needs, project),
      listSnapshots(needs, project),
      listAllBackups(db, project),
    ])
    const sum = (all: readonly { readonly size_bytes: number }[]) =>
      all.reduce((total, { size_bytes: bytes }) => total + gibOf(bytes), 0)
    return {
      volumes: volumes.length,
      snapshots: snapshots.length,
      gigabytes: sum(volumes) + sum(snapshots),
      backups: backups.length,
      backupGigabytes: sum(backups),
    }
  }
}
