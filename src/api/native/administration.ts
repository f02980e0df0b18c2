import type { FastifyInstance } from 'fastify'
import { endpoints } from '../../../contract/index.ts'
import { listAudit, listHosts, listPools } from '../../app/views/administration.ts'
import type { NativeNeeds } from './needs.ts'
import { serve } from './serve.ts'
import { moment } from './wire.ts'

export function administrationRoutes(app: FastifyInstance, needs: NativeNeeds): void {
  serve(app, endpoints.listAudit, async ({ caller, query }) => {
    const { items, next } = await listAudit(needs, caller, query)
    return {
      items: items.map(({ at, user_id, project_id, operation_id, ...entry }) => ({
        ...entry,
        at: at.toISOString(),
        user: user_id,
        project: project_id,
        operation: operation_id,
      })),
      next,
    }
  })

  serve(app, endpoints.recoverPools, async ({ caller, body }) => {
    const { operations } = await needs.commands.recoverPools(caller, body.pools ?? null)
    return { operations: [...operations] }
  })

  serve(app, endpoints.listPools, async ({ caller }) => {
    const pools = await listPools(needs, caller)
    const items = pools.map(({ low_since, measured_at, volumes, provisioned_bytes, ...pool }) => ({
      ...pool,
      low_since: moment(low_since),
      measured_at: moment(measured_at),
      volumes: volumes ?? 0,
      provisioned_bytes: provisioned_bytes ?? 0,
    }))
    return { items, next: null }
  })

  serve(app, endpoints.listHosts, async ({ caller }) => {
    const hosts = await listHosts(needs, caller)
    const items = hosts.map(({ id, name, enabled, disabled_reason, seen_at, facts, running, ...row }) => ({
      id,
      name,
      enabled,
      disabled_reason,
      seen_at: moment(seen_at),
      qemu_version: facts.qemuVersion ?? null,
      accelerator: facts.accelerator ?? null,
      vcpus: facts.vcpus ?? null,
      memory_mib: facts.memoryMib ?? null,
      instances: running ?? 0,
      group: row.group_id === null ? null : { id: row.group_id, name: row.group_name ?? '' },
    }))
    return { items, next: null }
  })
}
