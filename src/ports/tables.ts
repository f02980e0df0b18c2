/**
 * The database as the core sees it: the tables of migrations/0001.sql and later, one type each. Queries stand where they are
 * used, typed by these; there is one database product, so there is no layer between (docs/decisions/0002).
 * bigint columns come as numbers: sizes and sequences stay below 2^53.
 */
import type { ColumnType, Generated, JSONColumnType, Kysely, Transaction } from 'kysely'
import type { HostFacts } from '../domain/host.ts'
import type {
  AttachmentId,
  BackupId,
  FlavorId,
  HostGroupId,
  HostId,
  ImageId,
  InstanceId,
  LayerId,
  OperationId,
  PlanId,
  PointId,
  PoolId,
  ProjectId,
  SnapshotId,
  UserId,
  VaultId,
  VolumeId,
} from '../domain/ids.ts'
import type { Fault, FlavorSpec, InstanceState } from '../domain/instance.ts'
import type { LockMode, OperationEvent, OperationState, Problem } from '../domain/operation.ts'
import type { BackupState, Consistency, SnapshotKind, VolumeOperation, VolumeState } from '../domain/volume.ts'
import type { BackupFacts, VaultPlace } from './vault-mover.ts'

/** A moment: read as Date, written as Date or left to its default. */
type Moment = ColumnType<Date, Date | undefined, Date>
type MaybeMoment = ColumnType<Date | null, Date | null | undefined, Date | null>
type Json<T extends object | null> = JSONColumnType<T, string | undefined, string>
type Labels = Readonly<Record<string, string>>

export type Role = 'admin' | 'member' | 'reader'

export type ImageStatus = 'queued' | 'saving' | 'importing' | 'active' | 'killed' | 'deleted'

/** What an instance was when its snapshot was taken; the preflight compares with it. */
export type SnapshotOf = {
  readonly instance: InstanceId
  readonly instanceName: string
  readonly flavor: FlavorSpec
  readonly disks: readonly {
    readonly device: string
    readonly bootIndex: number | null
    readonly volume: VolumeId
    readonly volumeName: string
    readonly snapshot: SnapshotId
    readonly sizeBytes: number
  }[]
  /** `chosen`: only some disks were asked for. */
  readonly scope: 'all' | 'chosen'
}

export type BootConfig = {
  readonly kernelId?: string
  readonly ramdiskId?: string
  readonly kernelArgs?: string
  /** Its guest is told of its metadata, key and user data by a drive. */
  readonly configDrive?: boolean
}

export interface Tables {
  installation: { id: string; created_at: Generated<Date> }
  projects: {
    id: ProjectId
    name: string
    description: Generated<string>
    enabled: Generated<boolean>
    created_at: Generated<Date>
  }
  users: {
    id: UserId
    name: string
    password_hash: string
    enabled: Generated<boolean>
    default_project_id: ProjectId | null
    created_at: Generated<Date>
  }
  role_assignments: { user_id: UserId; project_id: ProjectId; role: Role }
  tokens: {
    hash: Buffer
    user_id: UserId
    project_id: ProjectId | null
    roles: Role[]
    body: Json<object>
    issued_at: Generated<Date>
    expires_at: ColumnType<Date, Date, Date>
    revoked_at: MaybeMoment
  }
  hosts: {
    id: HostId
    name: string
    agent_address: string
    enabled: Generated<boolean>
    disabled_reason: string | null
    facts: Json<Partial<HostFacts>>
    group_id: ColumnType<HostGroupId | null, HostGroupId | null | undefined, HostGroupId | null>
    seen_at: MaybeMoment
    created_at: Generated<Date>
  }
  plans: {
    id: PlanId
    name: string
    max_snapshots: Generated<number>
    max_backups: Generated<number>
    cooldown_seconds: Generated<number>
    /** Credits per GiB and month. */
    snapshot_credit_value: Generated<number>
    backup_credit_value: Generated<number>
    created_at: Generated<Date>
  }
  pools: {
    id: PoolId
    name: string
    kind: 'qcow2' | 'rbd' | 'memory'
    total_bytes: Generated<number>
    free_bytes: Generated<number>
    /** Since when it has had less free space than is warned of. */
    low_since: MaybeMoment
    measured_at: MaybeMoment
    created_at: Generated<Date>
    ahead_since: MaybeMoment
  }
  pool_hosts: { pool_id: PoolId; host_id: HostId }
  flavors: {
    id: FlavorId
    name: string
    vcpus: number
    ram_mib: number
    disk_gib: number
    ephemeral_gib: Generated<number>
    swap_mib: Generated<number>
    rxtx_factor: Generated<number>
    is_public: Generated<boolean>
    disabled: Generated<boolean>
    description: string | null
    extra_specs: Json<Labels>
    created_at: Generated<Date>
  }
  keypairs: {
    user_id: UserId
    name: string
    type: Generated<string>
    public_key: string
    fingerprint: string
    created_at: Generated<Date>
  }
  layers: {
    id: LayerId
    pool_id: PoolId
    parent_point_id: PointId | null
    size_bytes: number
    state: 'making' | 'present' | 'removing'
    made_by: OperationId
    created_at: Generated<Date>
  }
  points: { id: PointId; layer_id: LayerId; size_bytes: number; generation: number; marked_at: Moment }
  images: {
    id: ImageId
    project_id: ProjectId
    name: string | null
    status: ImageStatus
    visibility: 'public' | 'private' | 'shared' | 'community'
    container_format: string | null
    disk_format: string | null
    size_bytes: number | null
    virtual_size_bytes: number | null
    checksum: string | null
    os_hash_algo: string | null
    os_hash_value: string | null
    min_disk_gib: Generated<number>
    min_ram_mib: Generated<number>
    protected: Generated<boolean>
    os_hidden: Generated<boolean>
    tags: Generated<string[]>
    properties: Json<Labels>
    pool_id: PoolId | null
    layer_id: LayerId | null
    point_id: PointId | null
    instance_id: InstanceId | null
    snapshot_of: JSONColumnType<SnapshotOf | null, string | null | undefined, string | null>
    created_at: Generated<Date>
    updated_at: Generated<Date>
    deleted_at: MaybeMoment
  }
  volumes: {
    id: VolumeId
    project_id: ProjectId
    user_id: UserId | null
    name: Generated<string>
    description: string | null
    pool_id: PoolId
    size_bytes: number
    /** Null only in deleted rows. */
    head_layer_id: ColumnType<LayerId, LayerId, LayerId | null>
    generation: Generated<number>
    state: VolumeState
    bootable: Generated<boolean>
    metadata: Json<Labels>
    image_id: ImageId | null
    image_metadata: JSONColumnType<Labels | null, string | null | undefined, string | null>
    source_snapshot_id: SnapshotId | null
    source_volume_id: VolumeId | null
    source_backup_id: ColumnType<BackupId | null, BackupId | null | undefined, BackupId | null>
    left_clean: Generated<boolean> // sagas/parts/left-clean.ts
    plan_id: ColumnType<PlanId | null, PlanId | null | undefined, PlanId | null>
    cooldown_until: MaybeMoment
    created_at: Generated<Date>
    updated_at: Generated<Date>
    deleted_at: MaybeMoment
  }
  volume_snapshots: {
    id: SnapshotId
    project_id: ProjectId
    user_id: UserId | null
    volume_id: VolumeId
    /** Null while creating, and in deleted rows. */
    point_id: PointId | null
    name: Generated<string>
    description: string | null
    kind: SnapshotKind
    size_bytes: number
    state: 'creating' | 'available' | 'error' | 'deleting'
    metadata: Json<Labels>
    instance_id: InstanceId | null
    device: string | null
    image_id: ImageId | null
    operation_id: OperationId
    consistency: Consistency | null
    /** Why it is less than was asked for. */
    consistency_why: ColumnType<string | null, string | null | undefined, string | null>
    created_at: Generated<Date>
    updated_at: Generated<Date>
    deleted_at: MaybeMoment
  }
  vaults: {
    id: VaultId
    name: string
    kind: 'directory'
    place: JSONColumnType<VaultPlace>
    sealed_key: Buffer
    is_default: Generated<boolean>
    bytes_per_second: number | null
    parallel: Generated<number>
    created_at: Generated<Date>
    tested_at: MaybeMoment
    test_problem: ColumnType<string | null, string | null | undefined, string | null>
  }
  sweeps: { vault_id: VaultId; volume_id: VolumeId; due_at: Moment }
  host_groups: { id: HostGroupId; name: string; vault_id: VaultId | null; created_at: Generated<Date> }
  backups: {
    id: BackupId
    project_id: ProjectId
    user_id: UserId | null
    /** May be one that this database never had: read back from a vault. */
    volume_id: VolumeId
    vault_id: VaultId
    pool_id: PoolId | null
    name: Generated<string>
    description: string | null
    state: BackupState
    fail_reason: ColumnType<string | null, string | null | undefined, string | null>
    metadata: Json<Labels>
    facts: JSONColumnType<BackupFacts>
    size_bytes: number
    stored_bytes: ColumnType<number | null, number | null | undefined, number | null>
    read_bytes: ColumnType<number | null, number | null | undefined, number | null>
    root_hash: ColumnType<string | null, string | null | undefined, string | null>
    base_backup_id: ColumnType<BackupId | null, BackupId | null | undefined, BackupId | null>
    full_because: ColumnType<string | null, string | null | undefined, string | null>
    /** The hidden snapshot of kind `backup` that names its point; null: not kept any more. */
    snapshot_id: SnapshotId | null
    source_snapshot_id: ColumnType<SnapshotId | null, SnapshotId | null | undefined, SnapshotId | null>
    consistency: ColumnType<Consistency | null, Consistency | null | undefined, Consistency | null>
    consistency_why: ColumnType<string | null, string | null | undefined, string | null>
    damage: ColumnType<string | null, string | null | undefined, string | null>
    verified_at: MaybeMoment
    operation_id: OperationId
    created_at: Generated<Date>
    updated_at: Generated<Date>
    deleted_at: MaybeMoment
  }
  instances: {
    id: InstanceId
    seq: Generated<number>
    project_id: ProjectId
    user_id: UserId
    name: string
    description: string | null
    state: InstanceState
    host_id: HostId | null
    flavor: JSONColumnType<FlavorSpec>
    image_id: ImageId | null
    boot: Json<BootConfig>
    key_name: string | null
    key_data: string | null
    user_data: string | null
    metadata: Json<Labels>
    tags: Generated<string[]>
    config: Json<Labels>
    paused_because: string | null
    fault: JSONColumnType<Fault | null, string | null | undefined, string | null>
    locked: Generated<boolean>
    locked_reason: string | null
    launched_at: MaybeMoment
    terminated_at: MaybeMoment
    created_at: Generated<Date>
    updated_at: Generated<Date>
    deleted_at: MaybeMoment
  }
  attachments: {
    id: AttachmentId
    instance_id: InstanceId
    volume_id: VolumeId
    device: string
    boot_index: number | null
    delete_on_termination: Generated<boolean>
    tag: string | null
    attached_at: Generated<Date>
  }
  networks: { id: string; name: string; cidr: string; subnet_id: string; gateway: string; created_at: Generated<Date> }
  ports: {
    id: string
    network_id: string
    instance_id: InstanceId | null
    project_id: ProjectId
    mac: string
    fixed_ip: string
    created_at: Generated<Date>
  }
  operations: {
    id: OperationId
    kind: string
    version: number
    state: OperationState
    params: JSONColumnType<object>
    instance_id: InstanceId | null
    /** Set with `volume_operation`: what a user asked for this volume alone. */
    volume_id: ColumnType<VolumeId | null, VolumeId | null | undefined, VolumeId | null>
    volume_operation: ColumnType<VolumeOperation | null, VolumeOperation | null | undefined, VolumeOperation | null>
    project_id: ProjectId | null
    user_id: UserId | null
    request_id: string
    idempotency_key: string | null
    request_digest: Buffer | null
    /** Begins when that one has ended, however it ended. */
    waits_for: ColumnType<OperationId | null, OperationId | null | undefined, OperationId | null>
    preemptible: Generated<boolean>
    cancel_requested: Generated<boolean>
    lease_owner: string | null
    lease_until: MaybeMoment
    epoch: Generated<number>
    run_at: Moment
    attempts: Generated<number>
    problem: JSONColumnType<Problem | null, string | null | undefined, string | null>
    result: JSONColumnType<object | null, string | null | undefined, string | null>
    warnings: Json<Problem[]>
    created_at: Generated<Date>
    started_at: MaybeMoment
    ended_at: MaybeMoment
  }
  operation_steps: {
    operation_id: OperationId
    step: string
    state: 'started' | 'done' | 'failed' | 'undoing' | 'undone'
    attempt: Generated<number>
    output: JSONColumnType<object | null, string | null | undefined, string | null>
    problem: JSONColumnType<Problem | null, string | null | undefined, string | null>
    epoch: number
    started_at: Generated<Date>
    ended_at: MaybeMoment
  }
  operation_events: {
    seq: Generated<number>
    operation_id: OperationId
    at: Generated<Date>
    type: OperationEvent['type']
    data: Json<object>
  }
  locks: { resource: string; operation_id: OperationId; mode: LockMode }
  audit_log: {
    seq: Generated<number>
    at: Generated<Date>
    request_id: string
    user_id: UserId | null
    project_id: ProjectId | null
    action: string
    target: string | null
    outcome: string
    operation_id: OperationId | null
  }
}

export type Db = Kysely<Tables>
export type Tx = Transaction<Tables>
