/**
 * Everything that starts a durable operation, as the faces may call it. Each command checks policy and ownership (what belongs
 * to another project is `notFound`), starts its saga and returns at once with what the request created; whoever wants to wait
 * uses `Operations.ended`. All refusals are `Refusal`s; nothing is written when one is thrown.
 */
import type {
  AttachmentId,
  BackupId,
  Bytes,
  FlavorId,
  HostGroupId,
  ImageId,
  InstanceId,
  OperationId,
  PlanId,
  PoolId,
  SnapshotId,
  VaultId,
  VolumeId,
} from '../domain/ids.ts'
import type { Problem } from '../domain/operation.ts'
import type { Consistency } from '../domain/volume.ts'
import type { StopMode } from '../ports/host-agent.ts'
import type { Caller } from './caller.ts'

export type Labels = Readonly<Record<string, string>>
export type Started = { readonly operation: OperationId }

/** Where a disk comes from. Sizes are bytes; null: that of the source. */
export type DiskSource =
  | { readonly from: 'image'; readonly image: ImageId; readonly sizeBytes: Bytes | null }
  | { readonly from: 'snapshot'; readonly snapshot: SnapshotId; readonly sizeBytes: Bytes | null }
  | { readonly from: 'volume'; readonly volume: VolumeId }
  | { readonly from: 'blank'; readonly sizeBytes: Bytes }

export type CreateInstance = {
  readonly name: string
  readonly description: string | null
  readonly flavor: FlavorId
  /** Image to boot from: a disk image, or an instance snapshot whose mapping then gives all disks not named below. */
  readonly image: ImageId | null
  /** In boot order; empty: one disk from `image`. */
  readonly disks: readonly {
    readonly source: DiskSource
    readonly bootIndex: number | null
    readonly deleteOnTermination: boolean
    readonly device: string | null
    readonly tag: string | null
  }[]
  /** `auto`: the one network there is; a fixed address may be asked for. */
  readonly network: 'auto' | 'none' | { readonly network: string; readonly fixedIp: string | null }
  readonly keyName: string | null
  readonly userData: string | null
  /** A drive that tells the guest who it is; there is one in any case where a key or user data are given. */
  readonly configDrive?: boolean
  readonly metadata: Labels
  readonly tags: readonly string[]
  /** Host or availability zone asked for; null: any. */
  readonly host: string | null
}

/** A disk by attachment's volume id or device name (`vda` or `/dev/vda`). */
export type DiskName = string

export type RollbackRequest = {
  /** An instance snapshot (image id), or a volume snapshot or safety snapshot of one of the instance's disks; several for an undo of all. */
  readonly target: { readonly image: ImageId } | { readonly snapshots: readonly SnapshotId[] }
  /** Only these disks; null: all that the target has. */
  readonly disks: readonly DiskName[] | null
  readonly powerStateAfter: 'on' | 'off' | 'as-before'
  readonly skipSafetySnapshot: boolean
  readonly stop: StopMode
}

/** One finding of a preflight. `transient`: waiting may cure it. `facts` may carry the `disks` value that would work. */
export type Finding = Problem & { readonly transient: boolean; readonly facts?: Readonly<Record<string, unknown>> }

export type Preflight = {
  readonly canRollback: boolean
  readonly instance: InstanceId | null
  readonly instanceName: string | null
  readonly snapshot: string
  /** Kind of storage of the disks: `qcow2`, `rbd`. */
  readonly backend: string | null
  readonly volumes: readonly {
    readonly volume: VolumeId
    readonly name: string
    readonly device: string
    readonly snapshot: SnapshotId
    readonly sizeBytes: Bytes
    readonly snapshotSizeBytes: Bytes
    readonly backend: string
  }[]
  readonly errors: readonly Finding[]
  readonly warnings: readonly Finding[]
  readonly estimatedDowntimeSeconds: number
}

/** What a completed rollback operation has as its `result`. */
export type RollbackResult = {
  readonly instance: InstanceId
  readonly target: string
  readonly volumesReverted: readonly { readonly volume: VolumeId; readonly device: string; readonly elapsedSeconds: number }[]
  readonly safetySnapshots: readonly SnapshotId[]
  readonly durationSeconds: number
  readonly phases: Readonly<Record<string, number>>
  readonly powerState: 'on' | 'off'
}

export interface Commands extends BackupCommands, VaultCommands {
  createInstance(caller: Caller, request: CreateInstance): Promise<Started & { instance: InstanceId }>
  startInstance(caller: Caller, instance: InstanceId): Promise<Started>
  stopInstance(caller: Caller, instance: InstanceId, stop: StopMode): Promise<Started>
  rebootInstance(caller: Caller, instance: InstanceId, stop: StopMode): Promise<Started>
  deleteInstance(caller: Caller, instance: InstanceId): Promise<Started>
  attachVolume(
    caller: Caller,
    request: {
      instance: InstanceId
      volume: VolumeId
      device: string | null
      deleteOnTermination: boolean
      tag: string | null
    },
  ): Promise<Started & { attachment: AttachmentId; device: string }>
  detachVolume(caller: Caller, instance: InstanceId, volume: VolumeId): Promise<Started>

  createVolume(
    caller: Caller,
    request: {
      /** Null: that of the snapshot's volume. */
      name: string | null
      description: string | null
      source: Exclude<DiskSource, { from: 'volume' }>
      metadata: Labels
      /** Left out: that of the snapshot's volume, or none. */
      plan?: PlanId | null
    },
  ): Promise<Started & { volume: VolumeId }>
  extendVolume(caller: Caller, volume: VolumeId, sizeBytes: Bytes): Promise<Started>
  deleteVolume(caller: Caller, volume: VolumeId, options: { cascade: boolean }): Promise<Started>
  /**
   * In place, to any snapshot of the volume (Cinder allows only the latest); a safety snapshot first unless told otherwise.
   * `confirm`: the volume's name as it was typed, null where the protocol has no place for it. `undo`: no guard rail is asked.
   */
  restoreVolume(
    caller: Caller,
    volume: VolumeId,
    snapshot: SnapshotId,
    options: { skipSafetySnapshot: boolean; confirm: string | null; undo?: true },
  ): Promise<Started>

  /**
   * Without a name it gets the time as one. `force`: also while it is attached to a running instance, which is then frozen whole
   * if `consistency` asks for it.
   */
  createVolumeSnapshot(
    caller: Caller,
    request: {
      volume: VolumeId
      name: string | null
      description: string | null
      metadata: Labels
      force: boolean
      consistency: Consistency
    },
  ): Promise<Started & { snapshot: SnapshotId }>
  /** `confirm`: its name as it was typed, null where the protocol has no place for it. */
  deleteVolumeSnapshot(caller: Caller, snapshot: SnapshotId, options: { confirm: string | null }): Promise<Started>
  /** Administrator: safety snapshots of all projects older than so many seconds. */
  deleteOldSafetySnapshots(caller: Caller, olderThanSeconds: number): Promise<{ operations: readonly OperationId[] }>

  /** Points of all (or the chosen) disks at one moment; a zero-byte image names them. */
  createInstanceSnapshot(
    caller: Caller,
    request: {
      instance: InstanceId
      name: string
      metadata: Labels
      disks: readonly DiskName[] | null
      consistency: Consistency
    },
  ): Promise<Started & { image: ImageId }>
  /** Also deletes the volume snapshots that it made, unless they are used elsewhere. */
  deleteImage(caller: Caller, image: ImageId): Promise<Started>
  /** Turns received data (already stored by the agent under `upload`) into what the image's format says. */
  importImage(
    caller: Caller,
    image: ImageId,
    upload: { name: string; sizeBytes: Bytes; md5: string; sha512: string },
  ): Promise<Started>

  /** Administrator: makes the database agree with what the pools say of themselves (see the saga recover-pool); one operation a pool. */
  recoverPools(caller: Caller, pools: readonly PoolId[] | null): Promise<{ operations: readonly OperationId[] }>

  preflightRollback(caller: Caller, instance: InstanceId | null, request: RollbackRequest): Promise<Preflight>
  rollback(caller: Caller, instance: InstanceId, request: RollbackRequest): Promise<Started & { repeated: boolean }>
}

/** What a backup is made of: a point taken for it now, or one of the volume's own snapshots. */
export type BackupRequest = {
  readonly volume: VolumeId
  /** Null: the time. */
  readonly name: string | null
  readonly description: string | null
  readonly metadata: Labels
  readonly snapshot: SnapshotId | null
  readonly consistency: Consistency
  /** False: refused while it is attached (Cinder's way). */
  readonly force: boolean
  /** `auto`: only changes are read where that is possible. `full`: everything, whatever there is. */
  readonly read: 'auto' | 'full'
}

export interface BackupCommands {
  /** The operation is the backup's; taking its point is one of its own, which it waits for. */
  createBackup(caller: Caller, request: BackupRequest): Promise<Started & { backup: BackupId }>
  /** One backup of each disk (or the chosen ones), all of one moment. */
  createInstanceBackups(
    caller: Caller,
    request: Omit<BackupRequest, 'volume' | 'snapshot' | 'force'> & {
      readonly instance: InstanceId
      readonly disks: readonly DiskName[] | null
    },
  ): Promise<{
    readonly backups: readonly { readonly backup: BackupId; readonly volume: VolumeId; readonly operation: OperationId }[]
  }>
  /** `confirm`: its name as it was typed, null where the protocol has no place for it. */
  deleteBackup(caller: Caller, backup: BackupId, options: { confirm: string | null }): Promise<Started>
  /** In place: the same flip as `restoreVolume`, with a safety snapshot unless told otherwise. */
  restoreBackup(
    caller: Caller,
    volume: VolumeId,
    backup: BackupId,
    options: { skipSafetySnapshot: boolean; confirm: string | null },
  ): Promise<Started>
  /** Left out: those of the volume that was backed up, where it still exists. Any pool, of whatever kind. */
  createVolumeFromBackup(
    caller: Caller,
    request: {
      backup: BackupId
      name: string | null
      description: string | null
      sizeBytes: Bytes | null
      metadata: Labels
      pool?: PoolId
      plan?: PlanId | null
    },
  ): Promise<Started & { volume: VolumeId }>
}

export type VaultRequest = {
  readonly name: string
  /** Absolute, the same on every host that uses it. */
  readonly directory: string
  readonly bytesPerSecond: Bytes | null
  readonly parallel: number
  /** Whether hosts without a group, or whose group has no vault, use it. The first one made is the default in any case. */
  readonly isDefault: boolean
}

/** For administrators. Recovery keys are answered once and kept nowhere. */
export interface VaultCommands {
  createVault(caller: Caller, request: VaultRequest): Promise<{ vault: VaultId; recoveryKey: string }>
  /** Takes in a vault that another installation, or a lost one, has made. Its backups are listed by `recoverVault`. */
  addVault(caller: Caller, request: VaultRequest & { readonly recoveryKey: string }): Promise<{ vault: VaultId }>
  changeVault(
    caller: Caller,
    vault: VaultId,
    changes: Partial<Pick<VaultRequest, 'name' | 'bytesPerSecond' | 'parallel' | 'isDefault'>>,
  ): Promise<void>
  /** Forgets it; what lies in it stays. Refused while backups in it are listed or a host group uses it. */
  removeVault(caller: Caller, vault: VaultId): Promise<void>
  testVault(caller: Caller, vault: VaultId): Promise<{ freeBytes: Bytes | null; sharesDiskWith: readonly string[] }>
  /** A new recovery key; `replace`: the former ones open it no more. */
  newRecoveryKey(caller: Caller, vault: VaultId, options: { replace: boolean }): Promise<{ recoveryKey: string }>
  /** Reads everything back; backups that are damaged say so afterwards. */
  verifyVault(caller: Caller, vault: VaultId): Promise<Started>
  /** Lists what the vault holds and the database does not know. */
  recoverVault(caller: Caller, vault: VaultId): Promise<Started>
  createHostGroup(caller: Caller, request: { name: string; vault: VaultId | null }): Promise<{ group: HostGroupId }>
  changeHostGroup(caller: Caller, group: HostGroupId, changes: { name?: string; vault?: VaultId | null }): Promise<void>
  deleteHostGroup(caller: Caller, group: HostGroupId): Promise<void>
  setHostGroup(caller: Caller, host: string, group: HostGroupId | null): Promise<void>
}
