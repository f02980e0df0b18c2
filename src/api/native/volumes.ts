import type { FastifyInstance } from 'fastify'
import type { z } from 'zod'
import { endpoints } from '../../../contract/index.ts'
import type { VolumeView } from '../../../contract/volumes.ts'
import type { Commands } from '../../app/commands.ts'
import { changeVolumePlan } from '../../app/plans.ts'
import { listVolumes, showVolume, type VolumeRow } from '../../app/views/volumes.ts'
import { refuse } from '../../domain/refusals.ts'
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

  serveOperation(app, needs, endpoints.createVolume, async ({ caller, body: { source, ...body } }) => {
    const asked = newVolumeOf(body)
    if (!('backup' in source)) return commands.createVolume(caller, { ...asked, source: sourceOf(source) })
    const { backup, size_bytes, pool } = source
    const from = { backup, sizeBytes: size_bytes ?? null, ...(pool === undefined ? {} : { pool }) }
    return commands.createVolumeFromBackup(caller, { ...asked, ...from })
  })

  serveOperation(app, needs, endpoints.deleteVolume, async ({ caller, params, query }) =>
    commands.deleteVolume(caller, params.volume, { cascade: query.cascade === 'true' }),
  )

  serve(app, endpoints.changeVolume, async ({ caller, params, body }) => {
    needs.policy.require(caller, 'comeback:volumes:change_plan')
    await changeVolumePlan(needs.db, caller, params.volume, body.plan)
    const row = await showVolume(needs, caller, params.volume)
    return viewOf(row, await busyWith(needs, 'volume', [row]))
  })

  serveOperation(app, needs, endpoints.restoreVolume, async ({ caller, params: { volume }, body }) => {
    const { snapshot, backup, confirm, skip_safety_snapshot: skipSafetySnapshot } = body
    const how = { skipSafetySnapshot, confirm }
    if (backup) return commands.restoreBackup(caller, volume, backup, how)
    if (snapshot) return commands.restoreVolume(caller, volume, snapshot, how)
    throw refuse.malformed({ why: 'Give either a snapshot or a backup.' })
  })
}

type NewVolume = z.output<typeof endpoints.createVolume.body>

const newVolumeOf = ({ name, description, metadata, plan }: Omit<NewVolume, 'source'>) => ({
  name: name ?? null,
  description,
  metadata,
  ...(plan === undefined ? {} : { plan }),
})

function sourceOf(
  source: Exclude<NewVolume['source'], { backup: unknown }>,
): Parameters<Commands['createVolume']>[1]['source'] {
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
