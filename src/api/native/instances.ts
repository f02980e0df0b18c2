import type { FastifyInstance } from 'fastify'
import { endpoints } from '../../../contract/index.ts'
import type { InstanceView } from '../../../contract/instances.ts'
import { type InstanceRow, listInstances, showInstance } from '../../app/views/instances.ts'
import { type Busy, busyWith } from './busy.ts'
import type { NativeNeeds } from './needs.ts'
import { serve } from './serve.ts'

export function instanceRoutes(app: FastifyInstance, needs: NativeNeeds): void {
  serve(app, endpoints.listInstances, async ({ caller, query }) => {
    const { all_projects, ...filter } = query
    const { items, next } = await listInstances(needs, caller, { ...filter, all: all_projects === 'true' })
    const busy = await busyWith(needs, 'instance', items)
    return { items: items.map((row) => viewOf(row, busy)), next }
  })

  serve(app, endpoints.showInstance, async ({ caller, params }) => {
    const row = await showInstance(needs, caller, params.instance)
    return viewOf(row, await busyWith(needs, 'instance', [row]))
  })
}

const viewOf = (row: InstanceRow, busy: Busy): InstanceView => ({
  id: row.id,
  name: row.name,
  state: row.state,
  busy_with: busy(row.id),
  paused_because: row.paused_because,
  fault: row.fault?.message ?? null,
  project: row.project_id,
  host: row.host,
  flavor: { id: row.flavor.id, name: row.flavor.name, vcpus: row.flavor.vcpus, ram_mib: row.flavor.ramMib },
  addresses: row.addresses,
  metadata: row.metadata,
  created_at: row.created_at.toISOString(),
  disks: row.disks.map(({ device, id, name, size_bytes, boot_index }) => ({
    device,
    volume: id,
    name,
    size_bytes,
    boot_index,
  })),
})
