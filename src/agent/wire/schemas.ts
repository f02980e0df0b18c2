/** The shapes that cross between controller and agent, as zod schemas of the ports' own types. */
import { z } from 'zod'
import {
  asId,
  type Id,
  type ImageId,
  type InstanceId,
  isUuid,
  type LayerId,
  type OperationId,
  type PointId,
  type PoolId,
  type VolumeId,
} from '../../domain/ids.ts'
import { consistencies } from '../../domain/volume.ts'

export const id = <T extends Id<string>>() =>
  z
    .string()
    .refine(isUuid, 'must be a UUID')
    .transform((text) => asId<T>(text))

export const instanceId = id<InstanceId>()
export const volumeId = id<VolumeId>()
export const layerId = id<LayerId>()
export const pointId = id<PointId>()
export const poolId = id<PoolId>()
export const imageId = id<ImageId>()
export const operationId = id<OperationId>()

export const bytes = z.number().int().nonnegative()
/** A name inside a machine, also part of QEMU's own ids. */
export const device = z.string().regex(/^[a-z]{2,8}$/)
export const uploadName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/)
const text = z.string().max(4096)

export const disk = z.strictObject({
  device,
  volume: volumeId,
  pool: poolId,
  chain: z.array(layerId).min(1).max(256),
  sizeBytes: bytes,
})

export const machineSpec = z.strictObject({
  instance: instanceId,
  name: text,
  vcpus: z.number().int().min(1).max(1024),
  ramMib: z.number().int().min(1).max(16_777_216),
  disks: z.array(disk).max(26),
  nic: z
    .strictObject({
      mac: z.string().regex(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i),
      ip: z.ipv4(),
      cidr: z.cidrv4(),
      gateway: z.ipv4(),
    })
    .nullable(),
  directBoot: z.strictObject({ pool: poolId, kernel: imageId, ramdisk: imageId.nullable(), args: text }).nullable(),
  configDrive: z
    .array(
      z.strictObject({
        path: z.string().regex(/^[a-z0-9_.]{1,30}(\/[a-z0-9_.]{1,30}){0,6}$/),
        base64: z.base64().max(262_144),
      }),
    )
    .max(16)
    .optional(),
})

export const stopMode = z.strictObject({
  mode: z.enum(['graceful', 'hard']),
  graceSeconds: z.number().min(0).max(86_400),
  staysWanted: z.boolean().optional(),
})

export const stopped = z.object({ how: z.enum(['off', 'graceful', 'hard']), clean: z.boolean() })

export const machineView = z.object({
  instance: instanceId,
  state: z.enum(['running', 'paused', 'off', 'unknown']),
  pausedBecause: z.enum(['space', 'io', 'freeze', 'other']).nullable(),
  heads: z.record(z.string(), layerId),
  startedAt: z.string().nullable(),
  wanted: z.boolean(),
  shutDown: z.boolean(),
})

export const pivotRequest = z.strictObject({
  instance: instanceId,
  disks: z.array(z.strictObject({ device, from: layerId, to: layerId, pool: poolId })).min(1),
  consistency: z.enum(consistencies),
  freezeSeconds: z.number().min(0).max(600),
})

export const pivotOutcome = z.object({
  result: z.enum(['pivoted', 'gone']),
  achieved: z.enum(consistencies),
  why: z.string().nullable(),
  stallMs: z.number(),
})

export const merge = z.strictObject({
  lower: layerId,
  upper: layerId,
  base: layerId.nullable(),
  direction: z.enum(['pull', 'push']),
})

export const abilities = z.object({
  livePointBy: z.enum(['storage', 'qemu']),
  pointsPerLayer: z.enum(['one', 'many']),
  sharedBetweenHosts: z.boolean(),
})

export const hello = z.object({
  name: z.string(),
  highestEpoch: z.number().int().nonnegative(),
  facts: z.object({
    qemuVersion: z.string(),
    accelerator: z.enum(['kvm', 'tcg']),
    bootId: z.string(),
    vcpus: z.number(),
    memoryMib: z.number(),
  }),
  pools: z.array(z.object({ id: poolId, name: z.string(), kind: z.enum(['qcow2', 'rbd', 'memory']), abilities })),
})

export const pointRef = z.strictObject({ layer: layerId, point: pointId })

const pointRecord = z.strictObject({
  point: pointId,
  generation: z.number().int(),
  sizeBytes: bytes,
  snapshots: z.array(
    z.strictObject({
      id: z.string(),
      name: z.string(),
      kind: z.enum(['user', 'instance', 'safety', 'backup']),
      createdAt: z.string(),
      metadata: z.record(z.string(), z.string()),
      image: z.string().nullable(),
      consistency: z.enum(consistencies).nullish(),
      consistencyWhy: z.string().nullish(),
    }),
  ),
})

const volumeFacts = z.strictObject({
  id: volumeId,
  generation: z.number().int(),
  name: z.string(),
  project: z.string(),
  sizeBytes: bytes,
  bootable: z.boolean(),
  instance: z.strictObject({ id: instanceId, name: z.string(), device: z.string() }).nullable(),
})

export const layerRecord = z.strictObject({
  format: z.literal(1),
  installation: z.string(),
  madeBy: operationId,
  layer: layerId,
  pool: poolId,
  role: z.enum(['head', 'frozen', 'image', 'prepared', 'successor']),
  parent: pointRef.nullable(),
  sizeBytes: bytes,
  volume: volumeFacts.nullable(),
  points: z.array(pointRecord),
})

export const survey = z.object({
  layers: z.array(
    z.object({
      layer: layerId,
      record: layerRecord.nullable(),
      sizeBytes: bytes,
      allocatedBytes: bytes,
      backing: layerId.nullable(),
    }),
  ),
  foreign: z.array(z.string()),
  unfinished: z.array(layerId),
})

const eventBase = { seq: z.number().int(), at: z.string() }
export const hostEvent = z.union([
  z.object({ ...eventBase, type: z.enum(['shutdown', 'resumed']), instance: instanceId }),
  z.object({ ...eventBase, type: z.literal('died'), instance: instanceId, because: z.enum(['process', 'hostReboot']) }),
  z.object({ ...eventBase, type: z.literal('paused'), instance: instanceId, because: z.enum(['space', 'io']) }),
  z.object({ ...eventBase, type: z.literal('resync') }),
])

export const received = z.object({ sizeBytes: bytes, md5: z.string(), sha512: z.string() })
