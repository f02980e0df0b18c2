import { z } from 'zod'
import { consistencies } from '../src/domain/volume.ts'
import { endpoint } from './endpoint.ts'
import { started } from './operations.ts'
import {
  bytes,
  description,
  everybody,
  imageId,
  instanceId,
  labels,
  name,
  operationId,
  page,
  pageOf,
  snapshotId,
  time,
  volumeId,
} from './words.ts'

export const snapshotKinds = ['user', 'instance', 'safety'] as const

export const volumeSnapshot = z
  .object({
    id: snapshotId,
    name: z.string(),
    description,
    kind: z.enum(snapshotKinds),
    state: z.enum(['pending', 'creating', 'available', 'restoring', 'deleting', 'failed']),
    volume: volumeId,
    volume_name: z.string(),
    size_bytes: bytes,
    project: z.string(),
    instance: instanceId.nullable().describe('Instance it belonged to when taken'),
    device: z.string().nullable(),
    instance_snapshot: imageId.nullable(),
    operation: operationId,
    consistency: z.enum(consistencies).nullable().describe('What was achieved'),
    consistency_because: z.string().nullable().describe('Why it is less than was asked for'),
    metadata: labels,
    created_at: time,
  })
  .meta({ id: 'VolumeSnapshot' })
export type VolumeSnapshotView = z.output<typeof volumeSnapshot>

const ofSnapshot = z.strictObject({ snapshot: snapshotId })
const noun = 'volume snapshots'
const age = z.coerce.number<string | number>().int().min(0).optional().describe('Only those at least so many seconds old')

export const listVolumeSnapshots = endpoint('listVolumeSnapshots', {
  method: 'GET',
  path: '/v1/volume-snapshots',
  noun,
  summary: 'List volume snapshots of all kinds',
  query: z.strictObject({
    ...page,
    ...everybody,
    volume: volumeId.optional(),
    instance: instanceId.optional(),
    operation: operationId.optional(),
    kind: z.enum(snapshotKinds).optional(),
    older_than_seconds: age,
  }),
  answer: pageOf(volumeSnapshot),
})

export const showVolumeSnapshot = endpoint('showVolumeSnapshot', {
  method: 'GET',
  path: '/v1/volume-snapshots/{snapshot}',
  noun,
  summary: 'Show a volume snapshot',
  params: ofSnapshot,
  answer: volumeSnapshot,
  refusals: ['notFound'],
})

export const takeVolumeSnapshot = endpoint('takeVolumeSnapshot', {
  method: 'POST',
  path: '/v1/volume-snapshots',
  noun,
  summary: 'Take a snapshot of one volume, attached or not',
  body: z.strictObject({
    volume: volumeId,
    name: name.optional().describe('Left out: the time'),
    description: description.default(null),
    metadata: labels.default({}),
    force: z.boolean().default(true).describe('Also while a running instance writes to it'),
    consistency: z.enum(consistencies).default('crash').describe('Other than `crash`: the instance is frozen for a moment'),
  }),
  gives: 'operation',
  answer: z.object({ ...started, snapshot: snapshotId }),
  refusals: [
    'notFound',
    'volumeWrongState',
    'volumeBusy',
    'volumeCooldown',
    'snapshotLimit',
    'volumeOperationLimit',
    'chainTooLong',
    'poolFull',
  ],
})

export const deleteVolumeSnapshot = endpoint('deleteVolumeSnapshot', {
  method: 'DELETE',
  path: '/v1/volume-snapshots/{snapshot}',
  noun,
  summary: 'Delete a volume snapshot or a safety snapshot',
  description: 'Other snapshots, and the volume, stay as they are.',
  params: ofSnapshot,
  query: z.strictObject({ confirm: z.string().max(1024).describe('The name of the snapshot') }),
  gives: 'operation',
  answer: z.object(started),
  refusals: ['notFound', 'notConfirmed', 'resourceBusy', 'snapshotHasDependents'],
})

export const cleanUpSafetySnapshots = endpoint('cleanUpSafetySnapshots', {
  method: 'POST',
  path: '/v1/safety-snapshots/clean-ups',
  noun,
  summary: 'Delete safety snapshots of all projects by age',
  who: 'admin',
  body: z.strictObject({ older_than_seconds: z.int().min(0) }),
  answer: z.object({ operations: z.array(operationId) }),
})
