/**
 * A volume is a pointer to its head.
 *
 *   creating -> ready -> deleting -> (gone)
 *       +-----> error ------^
 *
 * Whether it is in use is not a state but an attachment; what is being done to it is the operation that holds its lock.
 */
import type { AttachmentId, Bytes, InstanceId, LayerId, PointId, PoolId, ProjectId, SnapshotId, VolumeId } from './ids.ts'

export const volumeStates = ['creating', 'ready', 'error', 'deleting'] as const
export type VolumeState = (typeof volumeStates)[number]

/** What a user asks for one volume alone; the guard rails bind these. */
export const volumeOperations = ['snapshot', 'backup', 'restore'] as const
export type VolumeOperation = (typeof volumeOperations)[number]

export const GiB = 1024 ** 3

export type Volume = {
  readonly id: VolumeId
  readonly project: ProjectId
  readonly name: string
  readonly pool: PoolId
  readonly sizeBytes: Bytes
  readonly head: LayerId
  /** Grows by one with every change of head or of the set of its points; also written on the storage. */
  readonly generation: number
  readonly state: VolumeState
}

/** `device` without `/dev/`: `vda` is the boot disk. */
export type Attachment = {
  readonly id: AttachmentId
  readonly volume: VolumeId
  readonly instance: InstanceId
  readonly device: string
  readonly bootIndex: number | null
  readonly deleteOnTermination: boolean
}

/** `backup`: the point that a backup is made of, kept so that the next one need read only what changed; not shown as a snapshot. */
export type SnapshotKind = 'user' | 'instance' | 'safety' | 'backup'

/**
 * How quiet a machine was at a point. `application`: the guest's own freeze hooks ran and its file systems were frozen ·
 * `filesystem`: the file systems were frozen, no hooks ran · `crash`: as after a power cut.
 */
export const consistencies = ['application', 'filesystem', 'crash'] as const
export type Consistency = (typeof consistencies)[number]

export const backupStates = ['creating', 'available', 'error', 'deleting', 'deleted'] as const
export type BackupState = (typeof backupStates)[number]

/** A name for a point. `error`: QEMU died inside the pivot and the moment is not proved. */
export type VolumeSnapshot = {
  readonly id: SnapshotId
  readonly volume: VolumeId
  readonly project: ProjectId
  readonly name: string
  readonly kind: SnapshotKind
  readonly point: PointId
  readonly sizeBytes: Bytes
  readonly state: 'creating' | 'available' | 'error' | 'deleting'
  readonly metadata: Readonly<Record<string, string>>
  readonly createdAt: Date
}
