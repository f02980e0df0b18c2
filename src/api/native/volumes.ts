import type { FastifyInstance } from 'fastify'
import type { z } from 'zod'
import { endpoints } from '../../../contract/index.ts'
import type { VolumeView } from '../../../contract/volumes.ts'
import type { Commands } from '../../app/commands.ts'
import { changeVolumePlan } from '../../app/plans.ts'
import { listVolumes, showVolume, type VolumeRow } from '../../app/views/volumes.ts'
import { type Busy, busyWith } from './busy.ts'
import type { NativeNeeds } from './needs.ts'
import { serve, serveOperation } from './serve.ts'

export function volumeRoutes(app: FastifyInstance, needs: NativeNeeds): void {
  const { commands } = needs

  serve(app, endpoints.listVolumes, async ({ caller, query }) => {
    const { all_projects, ...filter } = query
    const { items, next } = await listVolumes(needs, caller, { ...filter, all: all_projects === 'true' })
    const busy = await busyWith(needs, 'volume', items)
    return { items: items.map((row) => viewOf(row, busy)), next }
  })

  serve(app, endpoints.showVolume, async ({ caller, params }) => {
    const row = await showVolume(needs, caller, params.volume)
    return viewOf(row, await busyWith(needs, 'volume', [row]))
  })

  serveOperation(app, needs, endpoints.createVolume, async ({ caller, body }) =>
    commands.createVolume(caller, { ...newVolumeOf(body), source: sourceOf(body.source) }),
  )

  serveOperation(app, needs, endpoints.deleteVolume, async ({ caller, params, query }) =>
    commands.deleteVolume(caller, params.volume, { cascade: query.cascade === 'true' }),
  )

  serve(app, endpoints.changeVolume, async ({ caller, params, body }) => {
    needs.policy.require(caller, 'comeback:volumes:change_plan')
    await changeVolumePlan(needs.db, caller, params.volume, body.plan)
    const row = await showVolume(needs, caller, params.volume)
    return viewOf(row, await busyWith(needs, 'volume', [row]))
  })

  serveOperation(app, needs, endpoints.restoreVolume, async ({ caller, params, body }) =>
    commands.restoreVolume(caller, params.volume, body.snapshot, {
      skipSafetySnapshot: body.skip_safety_snapshot,
      confirm: body.confirm,
    }),
  )
}

const newVolumeOf = ({ name, description, metadata, plan }: z.output<typeof endpoints.createVolume.body>) => ({
  name: name ?? null,
  description,
  metadata,
  ...(plan === undefined ? {} : { plan }),
})

type Source = z.output<typeof endpoints.createVolume.body>['source']

function sourceOf(source: Source): Parameters<Commands['createVolume']>[1]['source'] {
  if ('image' in source) return { from: 'image', image: source.image, sizeBytes: source.size_bytes ?? null }
  if ('snapshot' in source) return { from: 'snapshot', snapshot: source.snapshot, sizeBytes: source.size_bytes ?? null }
  return { from: 'blank', sizeBytes: source.size_bytes }
}

const viewOf = (row: VolumeRow, busy: Busy): VolumeView => ({
  id: row.id,
  name: row.name,
  description: row.description,
  state: row.state,
  busy_with: busy(row.id),
  active_operation: row.active_operation,
  plan: row.plan_id,
  cooldown_seconds: row.cooldown_seconds,
  size_bytes: row.size_bytes,
  bootable: row.bootable,
  project: row.project_id,
  pool: row.pool_id,
  attached_to:
    row.instance_id === null || row.instance_name === null || row.device === null
      ? null
      : { instance: row.instance_id, instance_name: row.instance_name, device: row.device },
  snapshots: row.snapshots ?? 0,
  backups: row.backups ?? 0,
  metadata: row.metadata,
  created_at: row.created_at.toISOString(),
})
