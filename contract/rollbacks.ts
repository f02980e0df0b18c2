import { z } from 'zod'
import { endpoint } from './endpoint.ts'
import { problem, started } from './operations.ts'
import { bytes, disks, imageId, instanceId, open, seconds, snapshotId, volumeId } from './words.ts'

export const rollbackTarget = z
  .union([
    z.strictObject({ instance_snapshot: imageId }),
    z.strictObject({ snapshots: z.array(snapshotId).min(1).max(64).describe('Volume or safety snapshots, one a disk') }),
  ])
  .meta({ id: 'RollbackTarget' })
export type RollbackTarget = z.input<typeof rollbackTarget>

export const rollbackRequest = z
  .strictObject({
    to: rollbackTarget,
    disks: disks.optional(),
    power_state_after: z.enum(['on', 'off', 'as-before']).default('on'),
    skip_safety_snapshot: z.boolean().default(false).describe('What is written now is lost for good'),
    stop: z.enum(['graceful', 'hard']).default('graceful'),
    stop_seconds: z.int().min(0).max(3600).default(60).describe('Grace before it is stopped hard'),
  })
  .meta({ id: 'RollbackRequest' })

const finding = problem
  .extend({ transient: z.boolean().describe('Waiting may cure it'), facts: open.optional() })
  .meta({ id: 'Finding' })

export const preflight = z
  .object({
    can_rollback: z.boolean(),
    instance: instanceId.nullable(),
    instance_name: z.string().nullable(),
    snapshot: z.string(),
    backend: z.string().nullable(),
    volumes: z.array(
      z.object({
        volume: volumeId,
        name: z.string(),
        device: z.string(),
        snapshot: snapshotId,
        size_bytes: bytes,
        snapshot_size_bytes: bytes,
        backend: z.string(),
      }),
    ),
    errors: z.array(finding),
    warnings: z.array(finding),
    estimated_downtime_seconds: seconds,
  })
  .meta({ id: 'Preflight' })
export type PreflightView = z.output<typeof preflight>

/** Kind of the operations that put disks back: rollbacks and reverts. */
export const rollbackKind = 'replace-heads'

/** What a done rollback has as its `result`. */
export const rollbackResult = z
  .object({
    instance: instanceId.nullable(),
    target: z.string(),
    volumes_reverted: z.array(z.object({ volume: volumeId, device: z.string().nullable(), elapsed_seconds: seconds })),
    safety_snapshots: z.array(snapshotId),
    duration_seconds: seconds,
    phases: z.record(z.string(), seconds),
    power_state: z.enum(['on', 'off']),
  })
  .meta({ id: 'RollbackResult' })

const ofInstance = z.strictObject({ instance: instanceId })
const noun = 'rollbacks'

export const rollBackInstance = endpoint('rollBackInstance', {
  method: 'POST',
  path: '/v1/instances/{instance}/rollbacks',
  noun,
  summary: 'Roll an instance back in place',
  description:
    'To an instance snapshot, or to volume or safety snapshots of its disks. All chosen disks change or none; its id, addresses, ' +
    'metadata and newer snapshots stay. What is written now is kept by a safety snapshot unless you ask to skip it.',
  params: ofInstance,
  body: rollbackRequest,
  gives: 'operation',
  answer: z.object(started),
  refusals: [
    'notFound',
    'snapshotUnusable',
    'instanceWrongState',
    'instanceBusy',
    'volumeBusy',
    'resourceBusy',
    'preflightFailed',
    'idempotencyMismatch',
  ],
})

export const preflightInstance = endpoint('preflightInstance', {
  method: 'POST',
  path: '/v1/instances/{instance}/rollbacks/preflight',
  noun,
  summary: 'Say whether a rollback would go through, and what it would do',
  description: 'Writes nothing. Names every problem at once.',
  params: ofInstance,
  body: rollbackRequest,
  answer: preflight,
  refusals: ['notFound'],
})

export const preflightSnapshot = endpoint('preflightSnapshot', {
  method: 'POST',
  path: '/v1/preflights',
  noun,
  summary: 'The same from the snapshot alone: its instance is found',
  body: rollbackRequest,
  answer: preflight,
  refusals: ['notFound'],
})
