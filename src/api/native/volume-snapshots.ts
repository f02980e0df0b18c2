import type { FastifyInstance } from 'fastify'
import { endpoints } from '../../../contract/index.ts'
import type { VolumeSnapshotView } from '../../../contract/volume-snapshots.ts'
import { listVolumeSnapshots, showVolumeSnapshot, type VolumeSnapshotRow } from '../../app/views/volume-snapshots.ts'
import type { NativeNeeds } from './needs.ts'
import { serve, serveOperation } from './serve.ts'

export function volumeSnapshotRoutes(app: FastifyInstance, needs: NativeNeeds): void {
  const { commands } = needs

  serve(app, endpoints.listVolumeSnapshots, async ({ caller, query }) => {
    const { all_projects, older_than_seconds: olderThanSeconds, ...filter } = query
    const all = all_projects === 'true'
    const { items, next } = await listVolumeSnapshots(needs, caller, { ...filter, all, olderThanSeconds })
    return { items: items.map(viewOf), next }
  })

  serve(app, endpoints.showVolumeSnapshot, async ({ caller, params }) =>
    viewOf(await showVolumeSnapshot(needs, caller, params.snapshot)),
  )

  serveOperation(app, needs, endpoints.takeVolumeSnapshot, async ({ caller, body }) =>
    commands.createVolumeSnapshot(caller, { ...body, name: body.name ?? null }),
  )

  serveOperation(app, needs, endpoints.deleteVolumeSnapshot, async ({ caller, params, query }) =>
    commands.deleteVolumeSnapshot(caller, params.snapshot, query),
  )

  serve(app, endpoints.cleanUpSafetySnapshots, async ({ caller, body }) => {
    const { operations } = await commands.deleteOldSafetySnapshots(caller, body.older_than_seconds)
    return { operations: [...operations] }
  })
}

const viewOf = (row: VolumeSnapshotRow): VolumeSnapshotView => ({
  id: row.id,
  name: row.name,
  description: row.description,
  kind: row.kind,
  state: stateOf(row),
  volume: row.volume_id,
  volume_name: row.volume_name,
  size_bytes: row.size_bytes,
  project: row.project_id,
  instance: row.instance_id,
  device: row.device,
  instance_snapshot: row.image_id,
  operation: row.operation_id,
  consistency: row.consistency,
  consistency_because: row.consistency_why,
  metadata: row.metadata,
  created_at: row.created_at.toISOString(),
})

function stateOf({ state, operation_state, restoring }: VolumeSnapshotRow): VolumeSnapshotView['state'] {
  if (state === 'error') return 'failed'
  if (state === 'creating') return operation_state === 'pending' ? 'pending' : 'creating'
  return state === 'available' && restoring ? 'restoring' : state
}
