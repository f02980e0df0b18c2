import { z } from 'zod'
import { volumeStates } from '../src/domain/volume.ts'
import { endpoint } from './endpoint.ts'
import { busyWith } from './instances.ts'
import { started } from './operations.ts'
import {
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
    size_bytes: bytes,
    bootable: z.boolean(),
    project: z.string(),
    pool: poolId,
    attached_to: z.object({ instance: instanceId, instance_name: z.string(), device: z.string() }).nullable(),
    snapshots: z.int().describe('How many of its snapshots exist, safety snapshots included'),
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
  summary: 'Make a volume: blank, or from an image or a snapshot',
  body: z.strictObject({ name, description: description.default(null), source, metadata: labels.default({}) }),
  gives: 'operation',
  answer: z.object({ ...started, volume: volumeId }),
  refusals: ['notFound', 'volumeTooSmall', 'imageNotUsable', 'snapshotUnusable', 'poolFull'],
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

export const revertVolume = endpoint('revertVolume', {
  method: 'POST',
  path: '/v1/volumes/{volume}/reverts',
  noun,
  summary: 'Revert a volume in place to any of its snapshots',
  params: ofVolume,
  body: z.strictObject({ snapshot: snapshotId, skip_safety_snapshot: z.boolean().default(false) }),
  gives: 'operation',
  answer: z.object(started),
  refusals: ['notFound', 'snapshotUnusable', 'volumeWrongState', 'volumeBusy'],
})
