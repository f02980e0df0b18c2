import { z } from 'zod'
import { volumeOperations, volumeStates } from '../src/domain/volume.ts'
import { endpoint } from './endpoint.ts'
import { busyWith } from './instances.ts'
import { started } from './operations.ts'
import {
  backupId,
  bytes,
  description,
  everybody,
  flag,
  imageId,
  instanceId,
  labels,
  name,
  page,
  pageOf,
  planId,
  poolId,
  snapshotId,
  time,
  volumeId,
} from './words.ts'

export const volume = z
  .object({
    id: volumeId,
    name: z.string(),
    description,
    state: z.enum(volumeStates),
    busy_with: busyWith,
    active_operation: z
      .enum(volumeOperations)
      .nullable()
      .describe('The snapshot, backup or restore of this volume that is in flight'),
    plan: planId.nullable(),
    cooldown_seconds: z.int().min(0).describe('Until the next snapshot, backup or restore of this volume may begin'),
    size_bytes: bytes,
    bootable: z.boolean(),
    project: z.string(),
    pool: poolId,
    attached_to: z.object({ instance: instanceId, instance_name: z.string(), device: z.string() }).nullable(),
    snapshots: z.int().describe('How many of its snapshots exist, safety snapshots included'),
    backups: z.int().describe('How many backups of it exist'),
    metadata: labels,
    created_at: time,
  })
  .meta({ id: 'Volume' })
export type VolumeView = z.output<typeof volume>

const size = z.int().min(512).max(Number.MAX_SAFE_INTEGER).multipleOf(512).describe('Bytes, a multiple of 512')
const source = z.union([
  z.strictObject({ size_bytes: size }),
  z.strictObject({ image: imageId, size_bytes: size.optional() }),
  z.strictObject({ snapshot: snapshotId, size_bytes: size.optional() }),
  z.strictObject({
    backup: backupId,
    size_bytes: size.optional(),
    pool: poolId.optional().describe('Any pool, of whatever kind; left out: that of the volume'),
  }),
])

const ofVolume = z.strictObject({ volume: volumeId })
const noun = 'volumes'

export const listVolumes = endpoint('listVolumes', {
  method: 'GET',
  path: '/v1/volumes',
  noun,
  summary: 'List volumes',
  query: z.strictObject({ ...page, ...everybody, name: name.optional(), instance: instanceId.optional() }),
  answer: pageOf(volume),
})

export const showVolume = endpoint('showVolume', {
  method: 'GET',
  path: '/v1/volumes/{volume}',
  noun,
  summary: 'Show a volume',
  params: ofVolume,
  answer: volume,
  refusals: ['notFound'],
})

export const createVolume = endpoint('createVolume', {
  method: 'POST',
  path: '/v1/volumes',
  noun,
  summary: 'Make a volume: blank, or from an image, a snapshot or a backup',
  description:
    'From a snapshot or a backup it gets the name and the plan of the volume, unless others are given; the volume is untouched. ' +
    'From a backup it is filled before it can be used.',
  body: z.strictObject({
    name: name.optional(),
    description: description.default(null),
    source,
    plan: planId.nullable().optional(),
    metadata: labels.default({}),
  }),
  gives: 'operation',
  answer: z.object({ ...started, volume: volumeId }),
  refusals: [
    'notFound',
    'volumeTooSmall',
    'imageNotUsable',
    'snapshotUnusable',
    'backupUnusable',
    'vaultUnreachable',
    'poolFull',
  ],
})

export const changeVolume = endpoint('changeVolume', {
  method: 'PATCH',
  path: '/v1/volumes/{volume}',
  noun,
  summary: 'Put a volume into another plan, or into none',
  who: 'admin',
  params: ofVolume,
  body: z.strictObject({ plan: planId.nullable() }),
  answer: volume,
  refusals: ['notFound'],
})

export const deleteVolume = endpoint('deleteVolume', {
  method: 'DELETE',
  path: '/v1/volumes/{volume}',
  noun,
  summary: 'Delete a volume; its safety snapshots go with it',
  params: ofVolume,
  query: z.strictObject({ cascade: flag.optional().describe('Its other snapshots too') }),
  gives: 'operation',
  answer: z.object(started),
  refusals: ['notFound', 'volumeWrongState', 'volumeBusy', 'inUse'],
})

export const restoreVolume = endpoint('restoreVolume', {
  method: 'POST',
  path: '/v1/volumes/{volume}/restores',
  noun,
  summary: 'Restore a volume in place to any of its snapshots, or to a backup',
  description:
    'It must not be attached to a running instance. What it holds now is kept as a safety snapshot. A backup may be one of ' +
    'another volume; it is read whole before anything changes.',
  params: ofVolume,
  body: z
    .strictObject({
      snapshot: snapshotId.optional(),
      backup: backupId.optional(),
      confirm: z.string().max(255).describe('The name of the volume'),
      skip_safety_snapshot: z.boolean().default(false),
    })
    .refine(({ snapshot, backup }) => (snapshot === undefined) !== (backup === undefined), 'Give either a snapshot or a backup')
    .describe('Either `snapshot` or `backup`'),
  gives: 'operation',
  answer: z.object(started),
  refusals: [
    'notFound',
    'notConfirmed',
    'snapshotUnusable',
    'backupUnusable',
    'backupLarger',
    'revertWrongState',
    'restoreWhileRunning',
    'volumeBusy',
    'volumeCooldown',
    'volumeOperationLimit',
  ],
})
