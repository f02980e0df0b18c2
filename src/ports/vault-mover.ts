/**
 * What the core asks of an agent about vaults: the data path runs where the disks are. Long calls tell how far they are, and
 * end when their signal is aborted, or when a newer owner of the operation calls.
 *
 * A vault's format is in docs/vault-format.md. Calls may be repeated: a backup that is whole is not written again, what is
 * gone is removed again.
 */
import type { BackupId, Bytes, LayerId, PoolId, ProjectId, VaultId, VolumeId } from '../domain/ids.ts'
import type { Consistency } from '../domain/volume.ts'
import type { PointRef } from './storage-driver.ts'

/** Where a vault lies: the same directory on every host that uses it (a local disk, or a share mounted there). */
export type VaultPlace = { readonly kind: 'directory'; readonly directory: string }

/** All that it takes to read and write a vault. `key` is a secret: never logged, never journalled, never shown. */
export type VaultAccess = {
  readonly vault: VaultId
  readonly place: VaultPlace
  /** The vault's data key: 32 bytes in base64. */
  readonly key: string
  /** Null: as fast as it goes. */
  readonly bytesPerSecond: number | null
  /** How many blocks are under way at once. */
  readonly parallel: number
}

/** The data key, wrapped by one recovery key. Lies in the vault; useless without that key. */
export type KeySlot = {
  readonly id: string
  readonly createdAt: string
  readonly salt: string
  readonly nonce: string
  readonly wrapped: string
}

/** What a vault says of itself to whoever has no key. */
export type VaultIdentity = {
  readonly format: 1
  readonly vault: VaultId
  readonly name: string
  readonly createdAt: string
  readonly slots: readonly KeySlot[]
}

export type BackupRef = { readonly volume: VolumeId; readonly backup: BackupId; readonly project: ProjectId }

/** A point in its pool. `chain`: the layers that its content is made of, bottom first, the point's own last. */
export type SourcePoint = {
  readonly pool: PoolId
  readonly point: PointRef
  readonly chain: readonly LayerId[]
  readonly sizeBytes: Bytes
}

/** What the manifest says besides the data, so that a vault tells its own story when everything else is gone. */
export type BackupFacts = {
  readonly name: string
  readonly description: string | null
  readonly createdAt: string
  readonly volumeName: string
  readonly projectName: string
  readonly bootable: boolean
  readonly metadata: Readonly<Record<string, string>>
  readonly imageMetadata: Readonly<Record<string, string>> | null
  readonly consistency: Consistency
  readonly instance: { readonly id: string; readonly name: string; readonly device: string } | null
}

export type WriteBackup = {
  readonly of: BackupRef
  readonly source: SourcePoint
  /**
   * The volume's previous backup in this vault, whose pages this one shares. Its point, where that is still there, tells what
   * changed; `whyNot` is said where it is not.
   */
  readonly previous: { readonly backup: BackupId; readonly point: SourcePoint | null; readonly whyNot: string | null } | null
  readonly facts: BackupFacts
}

export type BackupOutcome = {
  /** Over the whole content; the same content has the same root within a project. */
  readonly rootHash: string
  readonly sizeBytes: Bytes
  /** Read from the pool. */
  readonly readBytes: Bytes
  /** What this backup added to the vault, as it lies there. */
  readonly storedBytes: Bytes
  /** The backup against which only changes were read; null: all was read, and `why` says why. */
  readonly base: BackupId | null
  readonly why: string | null
}

export type RestoreBackup = {
  readonly of: BackupRef
  readonly rootHash: string
  /** A blank layer of the same pool, at least as large as the backup, that nobody else has open. */
  readonly target: { readonly pool: PoolId; readonly layer: LayerId; readonly sizeBytes: Bytes }
}

/** `totalBytes` is what is to be moved, as far as it is known. */
export type MoveProgress = { readonly doneBytes: Bytes; readonly totalBytes: Bytes; readonly bytesPerSecond: number }
export type Report = (progress: MoveProgress) => void

/** A backup as its manifest, read and proved with the key, tells it. */
export type FoundBackup = BackupRef & {
  readonly rootHash: string
  readonly sizeBytes: Bytes
  readonly storedBytes: Bytes
  readonly facts: BackupFacts
}

/** One thing in a vault that is not what it should be, and the backups that cannot be restored whole because of it. */
export type Damage = { readonly object: string; readonly what: string; readonly backups: readonly BackupRef[] }

export type VerifyOutcome = {
  readonly backups: number
  readonly readBytes: Bytes
  readonly damage: readonly Damage[]
}

export type SweepOutcome = {
  readonly removedObjects: number
  readonly removedBytes: Bytes
  /** Unreferenced now for the first time: they go when the next sweep finds them so again. */
  readonly markedObjects: number
}

export interface VaultMover {
  /** Makes the vault in an empty directory. Repeated with the same id: succeeds. Anything else in it is refused (`vaultNotEmpty`). */
  makeVault(access: VaultAccess, identity: VaultIdentity): Promise<void>
  /** Null: no vault lies there. */
  readIdentity(place: VaultPlace): Promise<VaultIdentity | null>
  /** Replaces the key slots; at least one stays. */
  writeSlots(access: VaultAccess, slots: readonly KeySlot[]): Promise<void>
  /** Writes, reads and deletes a probe. `sharesDiskWith`: pools of this host on the same file system, whose loss the vault would not survive. */
  testVault(access: VaultAccess): Promise<{ readonly freeBytes: Bytes | null; readonly sharesDiskWith: readonly string[] }>
  /** Resolves when the manifest, written last, was read back and agrees. */
  writeBackup(access: VaultAccess, request: WriteBackup, report?: Report, signal?: AbortSignal): Promise<BackupOutcome>
  /** Removes what an attempt to write the backup has left, manifest included; packs that its attempts wrote go at once. */
  discardBackup(access: VaultAccess, of: BackupRef): Promise<void>
  /** Fills the layer. Refused with `backupDamaged`, naming all backups that the damage touches, before anything is called whole. */
  restoreBackup(
    access: VaultAccess,
    request: RestoreBackup,
    report?: Report,
    signal?: AbortSignal,
  ): Promise<{ readonly writtenBytes: Bytes }>
  hasBackup(access: VaultAccess, of: BackupRef): Promise<boolean>
  /** The manifest goes; what only it needed goes with later sweeps. */
  deleteBackup(access: VaultAccess, of: BackupRef): Promise<void>
  /** All whole backups in the vault. */
  listBackups(access: VaultAccess): Promise<readonly FoundBackup[]>
  /** Removes objects of the volume that were unreferenced at the mark before and are so now. Refused while a backup of it is being written. */
  sweepVolume(access: VaultAccess, volume: VolumeId, signal?: AbortSignal): Promise<SweepOutcome>
  /** Reads everything of a volume, or of the whole vault, back and proves it. */
  verify(access: VaultAccess, volume: VolumeId | null, report?: Report, signal?: AbortSignal): Promise<VerifyOutcome>
}
