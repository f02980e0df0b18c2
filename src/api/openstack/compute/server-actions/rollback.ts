/** Rolling an instance back in place, and asking beforehand whether it would work. */
import { z } from 'zod'
import type { Caller } from '../../../../app/caller.ts'
import type { Preflight, RollbackRequest, RollbackResult } from '../../../../app/commands.ts'
import { findInstance } from '../../../../app/instances.ts'
import { outcomeOf } from '../../../../app/outcome.ts'
import { asId, type ImageId, type SnapshotId } from '../../../../domain/ids.ts'
import { usualStop } from '../../../../domain/instance.ts'
import type { Operation } from '../../../../domain/operation.ts'
import { refuse } from '../../../../domain/refusals.ts'
import { GiB } from '../../../../domain/volume.ts'
import { read } from '../../../http/bodies.ts'
import type { ApiNeeds } from '../../../http/needs.ts'
import type { Action } from './action.ts'

const id = z.uuid().transform((text) => text.toLowerCase())

const body = z.strictObject({
  /** An instance snapshot's image, a volume or safety snapshot, or several of those. */
  snapshot_id: z.union([id, z.array(id).min(1).max(64)]),
  skip_safety_snapshot: z.boolean().optional(),
  power_state_after: z.enum(['on', 'off', 'as-before']).optional(),
  disks: z.array(z.string().min(1).max(64)).min(1).max(64).optional(),
  stop_mode: z.enum(['graceful', 'hard']).optional(),
  stop_timeout: z.number().min(0).max(3600).optional(),
})

export const rollbackDryRun: Action = async ({ needs, caller, id, body: given }) => {
  const instance = await findInstance(needs, caller, id, 'os_compute_api:xloud_rollback:dry_run')
  const found = await needs.commands.preflightRollback(caller, instance.id, await requestOf(needs, caller, read(body, given)))
  return { xloud_rollback_dry_run: preflightView(found) }
}

/** Answers when it is done. A client that goes away meanwhile changes nothing: the operation goes on. */
export const rollback: Action = async ({ needs, request, caller, id, body: given }) => {
  const instance = await findInstance(needs, caller, id, 'os_compute_api:xloud_rollback:rollback')
  const wanted = read(body, given)
  const { operation } = await needs.commands.rollback(caller, instance.id, await requestOf(needs, caller, wanted))
  request.audited.operation = operation
  const done = await outcomeOf(needs.operations, operation, needs.settings.waitSeconds)
  return { xloud_rollback: resultView(done, wanted.snapshot_id) }
}

async function requestOf(needs: Pick<ApiNeeds, 'db'>, _caller: Caller, wanted: z.infer<typeof body>): Promise<RollbackRequest> {
  const stop = {
    mode: wanted.stop_mode ?? usualStop.mode,
    graceSeconds: wanted.stop_timeout ?? usualStop.graceSeconds,
  }
  return {
    target: await targetOf(needs, [wanted.snapshot_id].flat()),
    disks: wanted.disks ?? null,
    powerStateAfter: wanted.power_state_after ?? 'on',
    skipSafetySnapshot: wanted.skip_safety_snapshot ?? false,
    stop,
  }
}

/** Ids do not say what they name. Whether the caller may use it, and whether it fits, the command decides. */
async function targetOf({ db }: Pick<ApiNeeds, 'db'>, ids: readonly string[]): Promise<RollbackRequest['target']> {
  const [first] = ids
  const snapshots = ids.map((each) => asId<SnapshotId>(each))
  const known = await db.selectFrom('volume_snapshots').select('id').where('id', 'in', snapshots).execute()
  if (known.length > 0) return { snapshots }
  if (ids.length > 1 || first === undefined) throw refuse.snapshotUnusable()
  return { image: asId<ImageId>(first) }
}

const preflightView = (found: Preflight) => ({
  can_rollback: found.canRollback,
  backend: found.backend,
  instance_uuid: found.instance,
  instance_name: found.instanceName,
  snapshot_id: found.snapshot,
  volumes: found.volumes.map((disk) => ({
    volume_id: disk.volume,
    name: disk.name,
    device: `/dev/${disk.device}`,
    snapshot_id: disk.snapshot,
    size_gb: Math.ceil(disk.sizeBytes / GiB),
    snapshot_size_gb: Math.ceil(disk.snapshotSizeBytes / GiB),
    backend: disk.backend,
  })),
  warnings: found.warnings,
  errors: found.errors,
  estimated_downtime_seconds: found.estimatedDowntimeSeconds,
})

function resultView(operation: Operation, asked: string | readonly string[]) {
  const result = operation.result as RollbackResult
  return {
    request_id: operation.origin.requestId,
    instance_uuid: result.instance,
    snapshot_id: asked,
    state: 'completed',
    volumes_reverted: result.volumesReverted.map(({ volume, device, elapsedSeconds }) => ({
      volume_id: volume,
      device: `/dev/${device}`,
      elapsed_seconds: elapsedSeconds,
    })),
    safety_snapshot_ids: result.safetySnapshots,
    duration_seconds: result.durationSeconds,
    operation_id: operation.id,
    power_state: result.powerState,
    phases: result.phases,
    warnings: operation.warnings,
  }
}
