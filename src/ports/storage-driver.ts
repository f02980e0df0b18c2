/**
 * Keeps layers and points on one pool of one kind of storage. Effects happen in the agent; the controller holds a proxy
 * with this same port.
 *
 * The contract every driver passes (test/conformance/storage-driver.ts):
 * - The caller names things beforehand, so every call may be repeated: making what exists, removing what is gone succeed.
 * - A resolved call survives a power cut: file and directory are on the disk. A rejected one has changed nothing that a
 *   repeat does not put right.
 * - What a driver cannot do is said in `abilities`, never by a rejected call.
 * - Which layer may go, what to merge and what a chain looks like is decided by `domain/layers.ts`, not here.
 */
import type { Bytes, ImageId, InstanceId, LayerId, OperationId, PointId, PoolId, VolumeId } from '../domain/ids.ts'
import type { Merge } from '../domain/layer-merges.ts'
import type { Consistency, SnapshotKind } from '../domain/volume.ts'

export type StorageAbilities = {
  /** Who makes the point of a disk that a running machine holds open: the storage itself, or QEMU by a pivot to a new layer. */
  readonly livePointBy: 'storage' | 'qemu'
  /** `one`: a point is the end of a frozen layer, and the volume goes on in a new layer. `many`: points lie inside the layer. */
  readonly pointsPerLayer: 'one' | 'many'
  readonly sharedBetweenHosts: boolean
}

export type PointRef = { readonly layer: LayerId; readonly point: PointId }

/** What a layer says about itself on the storage: enough to rebuild the database's rows. Versioned by `format`. */
export type LayerRecord = {
  readonly format: 1
  /** The database that chose this name. */
  readonly installation: string
  readonly madeBy: OperationId
  readonly layer: LayerId
  readonly pool: PoolId
  /**
   * `head`: written by the volume · `frozen`: nobody writes it any more · `image`: frozen, made from an upload ·
   * `prepared`: made for a flip that had not happened (never the newest) · `successor`: made over a head for a live pivot;
   * empty or the head's continuation, so that taking it as the head is right either way.
   */
  readonly role: 'head' | 'frozen' | 'image' | 'prepared' | 'successor'
  readonly parent: PointRef | null
  readonly sizeBytes: Bytes
  /** Volume that writes or wrote this layer, as it is when the record is written; null for images. */
  readonly volume: VolumeFacts | null
  /** The points in this layer, with the snapshots that name them. */
  readonly points: readonly PointRecord[]
}

export type VolumeFacts = {
  readonly id: VolumeId
  readonly generation: number
  readonly name: string
  readonly project: string
  readonly sizeBytes: Bytes
  readonly bootable: boolean
  readonly instance: { readonly id: InstanceId; readonly name: string; readonly device: string } | null
}

export type PointRecord = {
  readonly point: PointId
  readonly generation: number
  readonly sizeBytes: Bytes
  readonly snapshots: readonly {
    readonly id: string
    readonly name: string
    readonly kind: SnapshotKind
    readonly createdAt: string
    readonly metadata: Readonly<Record<string, string>>
    readonly image: string | null
    /** What was achieved, and why it is less than was asked for. Absent in records of former versions. */
    readonly consistency?: Consistency | null | undefined
    readonly consistencyWhy?: string | null | undefined
  }[]
}

/** One layer as it lies on the storage. `record` is null when the sidecar is missing or unreadable. */
export type FoundLayer = {
  readonly layer: LayerId
  readonly record: LayerRecord | null
  readonly sizeBytes: Bytes
  readonly allocatedBytes: Bytes
  /** Layer that the storage itself names as its parent, if it names one. */
  readonly backing: LayerId | null
}

export type Survey = {
  readonly layers: readonly FoundLayer[]
  /** Layers of which only traces are there: a making, removing or merging that was cut short. Repeating it, or `remove`, settles them. */
  readonly unfinished: readonly LayerId[]
  /** Names of things in the pool that are none of ours: listed, never deleted. */
  readonly foreign: readonly string[]
}

export type { Merge }

export interface StorageDriver {
  readonly kind: 'qcow2' | 'rbd' | 'memory'
  readonly pool: PoolId
  readonly abilities: StorageAbilities

  /** Makes a layer whose content is that of the point (zeros beyond its end), or blank. `from.point` may still be unmarked. */
  newLayer(layer: LayerId, from: PointRef | null, size: Bytes, record: LayerRecord): Promise<void>
  /** Makes the layer's present end an immutable point. With one point a layer, nobody can write the layer from then on. */
  mark(layer: LayerId, point: PointId, record: LayerRecord): Promise<void>
  /** Takes a mark back: the layer may be written again (`one`), or the point is removed (`many`). */
  unmark(layer: LayerId, point: PointId, record: LayerRecord): Promise<void>
  /** Removes the layer, its points and its record. Refused while anybody holds it open. */
  remove(layer: LayerId): Promise<void>
  /** Writes the layer's own record durably, replacing the former one. */
  describe(record: LayerRecord): Promise<void>
  readRecord(layer: LayerId): Promise<LayerRecord | null>
  /** Makes a head that nobody has open larger. */
  grow(layer: LayerId, size: Bytes): Promise<void>
  /**
   * Merges two layers that no running machine has open. Safe to be killed at any moment and repeated; aborting it is no more
   * than that. After a `pull` both layers read as before, and `lower` waits to be removed. A `push` has taken `upper` away: what
   * is in `lower` may be written from then on, and the rows must follow.
   */
  merge(merge: Merge, signal?: AbortSignal): Promise<void>
  /** Takes the layers' own write locks and keeps them until `release`, also over an agent's death. Refused while anybody writes. */
  hold(holder: OperationId, layers: readonly LayerId[]): Promise<void>
  release(holder: OperationId): Promise<void>
  /** In whose name layers are held, or were about to be. */
  holders(): Promise<readonly OperationId[]>
  /** Whether any process has the layer open for writing. */
  hasWriter(layer: LayerId): Promise<boolean>
  /** Turns a received file (`incoming/<upload>` of the pool) into a frozen layer, after proving that it is what it says. Leaves the upload. */
  importUpload(layer: LayerId, upload: string, format: 'raw' | 'qcow2', record: LayerRecord): Promise<{ sizeBytes: Bytes }>
  /** Keeps a received kernel or ramdisk as the image's blob. */
  adoptBlob(image: ImageId, upload: string): Promise<void>
  removeBlob(image: ImageId): Promise<void>
  discardUpload(upload: string): Promise<void>
  /** Keeps a received dump of the database beside the layers, under its upload name, and only the newest `keep` of them. */
  keepDatabaseDump(upload: string, keep: number): Promise<void>
  /** Whether the layer holds no data of its own, so that its content is its parent's. Asked of layers that nobody has open. */
  isEmpty(layer: LayerId): Promise<boolean>
  allocated(layers: readonly LayerId[]): Promise<Readonly<Record<LayerId, Bytes>>>
  survey(): Promise<Survey>
  space(): Promise<{ totalBytes: Bytes; freeBytes: Bytes }>
}
