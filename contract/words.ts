/** Schemas of the words all endpoints share. Ids are the domain's own, so that one cannot be sent in place of another. */
import { z } from 'zod'
import type {
  BackupId,
  FlavorId,
  HostGroupId,
  HostId,
  Id,
  ImageId,
  InstanceId,
  OperationId,
  PlanId,
  PoolId,
  SnapshotId,
  VaultId,
  VolumeId,
} from '../src/domain/ids.ts'

/** The brand exists for the type checker alone: what is checked is the shape. */
const uuidOf = <Named extends Id<string>>(what: string) =>
  z.guid().toLowerCase().describe(what) as unknown as z.ZodType<Named, string>

export const instanceId = uuidOf<InstanceId>('Instance')
export const volumeId = uuidOf<VolumeId>('Volume')
export const snapshotId = uuidOf<SnapshotId>('Volume snapshot')
export const imageId = uuidOf<ImageId>('Image; of an instance snapshot')
export const operationId = uuidOf<OperationId>('Operation')
export const planId = uuidOf<PlanId>('Plan')
export const poolId = uuidOf<PoolId>('Pool')
export const backupId = uuidOf<BackupId>('Backup')
export const vaultId = uuidOf<VaultId>('Vault')
export const hostGroupId = uuidOf<HostGroupId>('Host group')
export const hostId = uuidOf<HostId>('Host')
export const flavorId = z.string().describe('Flavor') as unknown as z.ZodType<FlavorId, string>

export const time = z.iso.datetime()
export const bytes = z.int().min(0).describe('Bytes')
export const seconds = z.number().min(0).describe('Seconds')
export const open = z.record(z.string(), z.unknown())

const lettersThatHide = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069<>]/u

/** A name given by a user: shown in terminals and pages, so nothing that steers either. */
export const name = z
  .string()
  .trim()
  .min(1)
  .max(255)
  .refine((text) => !lettersThatHide.test(text), 'Must not contain control characters or markup')
export const description = z.string().max(2048).nullable()
export const labels = z.record(z.string().min(1).max(255), z.string().max(255))

/** Disks to take, by volume id or device name (`vda`, `/dev/vda`); left out: all. */
export const disks = z.array(z.string().min(1).max(64)).min(1).max(64)

export const flag = z.enum(['true', 'false'])

export const page = {
  limit: z.coerce.number<string | number>().int().min(1).max(1000).default(100).describe('At most so many'),
  after: z.guid().toLowerCase().optional().describe('`next` of the page before'),
}
export const everybody = { all_projects: flag.optional().describe('Of all projects; administrators only') }

/** A page of a list. `next`: pass it as `after` for more; null: there is no more. */
export const pageOf = <Item extends z.ZodType>(of: Item) => z.object({ items: z.array(of), next: z.string().nullable() })
