/**
 * What the core asks of the agent on one host. Every call that changes something is fenced: the proxy sends the
 * operation's epoch along, and the agent refuses an epoch lower than one it has seen for the same instance.
 * Calls are idempotent: what is already so succeeds. Rejections are `Refusal`s (`hostUnreachable`: outcome unknown).
 */
import type { HostFacts } from '../domain/host.ts'
import type { Bytes, InstanceId, LayerId, PoolId, VolumeId } from '../domain/ids.ts'
import type { Consistency } from '../domain/volume.ts'
import type { Merge, StorageAbilities, StorageDriver } from './storage-driver.ts'

export type MachineDisk = {
  readonly device: string
  readonly volume: VolumeId
  readonly pool: PoolId
  /** Layers bottom first; the last one is the head, opened for writing. */
  readonly chain: readonly LayerId[]
  readonly sizeBytes: Bytes
}

/** A file of a machine's config drive; paths are of lower-case letters, digits, `_`, `.` and `/`. */
export type ConfigFile = { readonly path: string; readonly base64: string }

/** All that a QEMU process is started from. Equal specs give equal machines: same PCI addresses, serials, MAC. */
export type MachineSpec = {
  readonly instance: InstanceId
  readonly name: string
  readonly vcpus: number
  readonly ramMib: number
  /** In device order; the first one boots. */
  readonly disks: readonly MachineDisk[]
  readonly nic: { readonly mac: string; readonly ip: string; readonly cidr: string; readonly gateway: string } | null
  /** Blobs (kernel and ramdisk images) by image id, with kernel arguments; null: boots from its first disk. */
  readonly directBoot: {
    readonly pool: PoolId
    readonly kernel: string
    readonly ramdisk: string | null
    readonly args: string
  } | null
  /** A CD-ROM labelled `config-2` with these files, made anew at each start; none without. */
  readonly configDrive?: readonly ConfigFile[] | undefined
}

/** `staysWanted`: the host goes down, not the machine; when the host is back, the machine is started again. */
export type StopMode = {
  readonly mode: 'graceful' | 'hard'
  readonly graceSeconds: number
  readonly staysWanted?: boolean | undefined
}

/** `clean`: it is off because its guest shut it down, now or before, so its file systems are whole. */
export type Stopped = { readonly how: 'off' | 'graceful' | 'hard'; readonly clean: boolean }

/** `paused.space`: QEMU stopped the guest because a write found no room. */
export type MachineView = {
  readonly instance: InstanceId
  /** `unknown`: its process lives and does not answer, so it may be writing. */
  readonly state: 'running' | 'paused' | 'off' | 'unknown'
  readonly pausedBecause: 'space' | 'io' | 'freeze' | 'other' | null
  /** Which layer each device writes now, asked of QEMU; empty when off or unknown. */
  readonly heads: Readonly<Record<string, LayerId>>
  readonly startedAt: string | null
  /** It was started, and neither stopped nor shut down by its guest: a machine that is wanted and off has died. */
  readonly wanted: boolean
  /** Of one that is off: its guest shut it down, and it has not run since. */
  readonly shutDown: boolean
}

export type PivotRequest = {
  readonly instance: InstanceId
  readonly disks: readonly { readonly device: string; readonly from: LayerId; readonly to: LayerId; readonly pool: PoolId }[]
  /** Other than `crash`: the guest is frozen through its agent first, within the time. What was achieved may be less, and says why. */
  readonly consistency: Consistency
  readonly freezeSeconds: number
}

/** `pivoted`: all disks write the new layers. `gone`: no QEMU process, so nobody knows; the new layers are right either way. */
export type PivotOutcome = {
  readonly result: 'pivoted' | 'gone'
  readonly achieved: Consistency
  /** Why it is less than was asked for; null: it is not. */
  readonly why: string | null
  /** Milliseconds the guest could not write. */
  readonly stallMs: number
}

export type PointsRequest = {
  readonly instance: InstanceId
  readonly disks: readonly { readonly pool: PoolId; readonly layer: LayerId; readonly point: string }[]
}

export type PoolFacts = {
  readonly id: PoolId
  readonly name: string
  readonly kind: StorageDriver['kind']
  readonly abilities: StorageAbilities
}

export type HostHello = {
  readonly name: string
  readonly facts: HostFacts
  readonly pools: readonly PoolFacts[]
  /** The greatest it was ever called with. A database that has not drawn that number yet is an older copy, or another one. */
  readonly highestEpoch: number
}

/**
 * What happened to machines without the controller having asked for it.
 * `shutdown`: its guest shut it down · `died`: its process ended unasked, and with `hostReboot` the whole host did ·
 * `resync`: events before this one are not kept any more; look at `machines()`.
 */
export type HostEvent = { readonly seq: number; readonly at: string } & (
  | { readonly type: 'shutdown' | 'resumed'; readonly instance: InstanceId }
  | { readonly type: 'died'; readonly instance: InstanceId; readonly because: 'process' | 'hostReboot' }
  | { readonly type: 'paused'; readonly instance: InstanceId; readonly because: 'space' | 'io' }
  | { readonly type: 'resync' }
)

export interface HostEvents {
  /** Events with seq > after, then new ones as they happen, until aborted. `seq` grows over restarts of the agent. */
  events(after: number, signal: AbortSignal): AsyncIterable<HostEvent>
}

/** What was received, measured while it came. */
export type Received = { readonly sizeBytes: Bytes; readonly md5: string; readonly sha512: string }

export interface Uploads {
  /** Stores the data durably as `incoming/<upload>` of the pool, replacing what was there under that name. */
  upload(pool: PoolId, upload: string, data: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<Received>
}

export interface HostAgent {
  hello(): Promise<HostHello>
  startMachine(spec: MachineSpec): Promise<void>
  /** Resolves when the process is gone. `how` says what it took. */
  stopMachine(instance: InstanceId, how: StopMode): Promise<Stopped>
  /** The power goes off and on again: a new process with the same machine. Of a machine that is off: nothing. */
  resetMachine(instance: InstanceId): Promise<void>
  machine(instance: InstanceId): Promise<MachineView>
  machines(): Promise<readonly MachineView[]>
  /** Stops the vCPUs (nothing is written meanwhile) or lets them go on. An agent that adopts a machine paused by no live operation resumes it. */
  pauseMachine(instance: InstanceId): Promise<void>
  resumeMachine(instance: InstanceId): Promise<void>
  /** Makes all disks write their new layers at one moment, or none. Looks first, so that it may be repeated. */
  pivot(request: PivotRequest): Promise<PivotOutcome>
  attachDisk(instance: InstanceId, disk: MachineDisk): Promise<void>
  detachDisk(instance: InstanceId, device: string): Promise<void>
  resizeDisk(instance: InstanceId, device: string, size: Bytes): Promise<void>
  /** Merges inside the chain of a running machine; resolves when it is durable. Aborting cancels it without harm. */
  mergeLive(instance: InstanceId, device: string, pool: PoolId, merge: Merge, signal?: AbortSignal): Promise<void>
  /** The last lines of the serial console; null lines: all that is kept. */
  console(instance: InstanceId, lines: number | null): Promise<string>
  /** Forgets a deleted machine: console, sockets, records. */
  forgetMachine(instance: InstanceId): Promise<void>
}
