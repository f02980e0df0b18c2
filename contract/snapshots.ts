import { z } from 'zod'
import { consistencies } from '../src/domain/volume.ts'
import { endpoint } from './endpoint.ts'
import { started } from './operations.ts'
import { rollbackTarget } from './rollbacks.ts'
import { bytes, disks, imageId, instanceId, labels, name, snapshotId, time, volumeId } from './words.ts'

const markOfDisk = z.object({
  device: z.string().nullable().describe('Device name when taken'),
  volume: volumeId,
  snapshot: snapshotId,
  size_bytes: bytes,
  state: z.enum(['creating', 'available', 'error', 'deleting']),
  attached: z.boolean().describe('The volume is still a disk of this instance'),
  parent: z
    .string()
    .nullable()
    .describe('Key of the parent on this disk; differs from `parent` where disks went different ways'),
})

export const treeNode = z
  .object({
    key: z.string().describe('Image, operation or volume snapshot id'),
    kind: z.enum(['instance', 'volume', 'safety']).describe('safety: taken by a rollback of what it replaced'),
    name: z.string(),
    taken_at: time,
    state: z.enum(['creating', 'available', 'error', 'deleting']),
    consistency: z.enum(consistencies).nullable().describe('What was achieved'),
    consistency_because: z.string().nullable().describe('Why it is less than was asked for'),
    parent: z.string().nullable(),
    to: rollbackTarget.describe('What to send to roll back to it'),
    before_rollback_to: z.string().nullable().describe('safety: key of the node that the rollback went to, if it still exists'),
    made_by: z.string().describe('Operation that took it'),
    disks: z.array(markOfDisk),
    here: z.array(z.string()).describe('Devices whose present content descends from it'),
  })
  .meta({ id: 'SnapshotNode' })
export type TreeNode = z.output<typeof treeNode>

export const tree = z
  .object({
    instance: instanceId,
    instance_name: z.string(),
    nodes: z.array(treeNode).describe('In the order they were taken'),
    here: z.array(
      z.object({
        device: z.string(),
        volume: volumeId,
        node: z.string().nullable().describe('Null: descends from no snapshot that still exists'),
      }),
    ),
    mixed: z.boolean().describe('The disks stand at different snapshots'),
  })
  .meta({ id: 'SnapshotTree' })
export type SnapshotTreeView = z.output<typeof tree>

const ofInstance = z.strictObject({ instance: instanceId })

export const showSnapshotTree = endpoint('showSnapshotTree', {
  method: 'GET',
  path: '/v1/instances/{instance}/snapshots',
  noun: 'snapshots',
  summary: 'The snapshots of an instance as a tree, and where its disks stand in it',
  params: ofInstance,
  answer: tree,
  refusals: ['notFound'],
})

export const takeInstanceSnapshot = endpoint('takeInstanceSnapshot', {
  method: 'POST',
  path: '/v1/instances/{instance}/snapshots',
  noun: 'snapshots',
  summary: 'Take a snapshot of all, or chosen, disks at one moment',
  description:
    'The instance keeps running. All but `crash` freeze it through the guest agent; where less is achieved, the snapshot says so and why.',
  params: ofInstance,
  body: z.strictObject({
    name,
    disks: disks.optional(),
    consistency: z.enum(consistencies).default('filesystem'),
    metadata: labels.default({}),
  }),
  gives: 'operation',
  answer: z.object({ ...started, snapshot: imageId }),
  refusals: ['notFound', 'instanceWrongState', 'instanceBusy', 'volumeBusy', 'chainTooLong', 'poolFull'],
})

export const deleteInstanceSnapshot = endpoint('deleteInstanceSnapshot', {
  method: 'DELETE',
  path: '/v1/instance-snapshots/{snapshot}',
  noun: 'snapshots',
  summary: 'Delete an instance snapshot',
  description: 'Other snapshots, and the disks, stay as they are.',
  params: z.strictObject({ snapshot: imageId }),
  gives: 'operation',
  answer: z.object(started),
  refusals: ['notFound', 'resourceBusy', 'inUse'],
})
