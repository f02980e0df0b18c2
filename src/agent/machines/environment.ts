/** What machines find on their host: who QEMU runs as, where things lie, which pools there are. */
import type { FileHandle } from 'node:fs/promises'
import type { Logger } from 'pino'
import type { Bytes, LayerId, PoolId } from '../../domain/ids.ts'
import type { Merge, StorageDriver } from '../../ports/storage-driver.ts'
import type { EventLog } from '../event-log.ts'
import type { Records } from './record.ts'

/** A pool whose layers are files that QEMU opens. */
export type LocalPool = {
  readonly id: PoolId
  readonly name: string
  readonly directory: string
  readonly driver: StorageDriver
  /** Lets QEMU's user write a frozen layer's file, and takes it back. */
  readonly allowWriting: (layer: LayerId) => Promise<void>
  readonly freeze: (layer: LayerId) => Promise<void>
  /** What the storage must be told before a merge inside a machine begins, and when QEMU has done its part. */
  readonly beginMerge: (merge: Merge) => Promise<void>
  readonly finishMerge: (merge: Merge) => Promise<void>
}

export type OpenPool = LocalPool & { readonly handle: FileHandle }

export type QemuUser = { readonly uid: number; readonly gid: number } | null

export type MachinesEnvironment = {
  readonly accelerator: 'kvm' | 'tcg'
  /** Group that may open /dev/kvm; null: nobody needs one. */
  readonly kvmGroup: number | null
  readonly user: QemuUser
  readonly runDirectory: string
  readonly bootId: string
  readonly pools: ReadonlyMap<PoolId, OpenPool>
  readonly records: Records
  readonly events: EventLog
  readonly log: Logger
  /** A machine that a full pool holds goes on when so much is free again. */
  readonly resumeFreeBytes: Bytes
}
