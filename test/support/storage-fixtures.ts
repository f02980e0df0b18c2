/** Records and contents for tests of storage drivers. */
import {
  type Bytes,
  type LayerId,
  newId,
  type OperationId,
  type PointId,
  type PoolId,
  type VolumeId,
} from '../../src/domain/ids.ts'
import type { LayerRecord, PointRef, StorageDriver } from '../../src/ports/storage-driver.ts'

/** Contents are told in blocks of this size, each filled with one byte. */
export const blockBytes = 65_536

/** The blocks that are not zero. */
export type Content = Readonly<Record<number, number>>

/** What a test may do to a pool beside the driver's own verbs. */
export type TestPool = {
  readonly driver: StorageDriver
  write(layer: LayerId, block: number, byte: number): Promise<void>
  /** Seen through the layer, or through one of its points. */
  read(layer: LayerId, point?: PointId): Promise<Content>
  /** A machine, or a tool, opens the layer; the result closes it. */
  openForWriting(layer: LayerId): Promise<() => Promise<void>>
  /** A second agent (or the same one, started again) on the same storage. */
  another(): Promise<StorageDriver>
  /** A file as a user sends it. */
  upload(name: string, format: 'raw' | 'qcow2', size: Bytes, content: Content): Promise<void>
  /** Fails when the storage's own checker finds fault with anything in the pool. */
  check(): Promise<void>
  close(): Promise<void>
}

export const madeBy: OperationId = newId()

export function recordOf(pool: PoolId, layer: LayerId, changes: Partial<LayerRecord> = {}): LayerRecord {
  return {
    format: 1,
    installation: 'test',
    madeBy,
    layer,
    pool,
    role: 'head',
    parent: null,
    sizeBytes: 64 * blockBytes,
    volume: null,
    points: [],
    ...changes,
  }
}

export const volumeFacts = (generation: number): NonNullable<LayerRecord['volume']> => ({
  id: newId<VolumeId>(),
  generation,
  name: 'data',
  project: 'demo',
  sizeBytes: 64 * blockBytes,
  bootable: false,
  instance: null,
})

export const pointRecord = (point: PointId, sizeBytes: Bytes): LayerRecord['points'][number] => ({
  point,
  generation: 1,
  sizeBytes,
  snapshots: [{ id: newId(), name: 'kept', kind: 'user', createdAt: '2026-01-01T00:00:00Z', metadata: {}, image: null }],
})

/** A new layer with a fresh name. */
export async function makeLayer({ driver }: Pick<TestPool, 'driver'>, from: PointRef | null, size: Bytes): Promise<LayerId> {
  const layer = newId<LayerId>()
  await driver.newLayer(layer, from, size, recordOf(driver.pool, layer, { parent: from, sizeBytes: size }))
  return layer
}

/** Marks the layer's end with a fresh name. */
export async function markPoint({ driver }: Pick<TestPool, 'driver'>, layer: LayerId): Promise<PointRef> {
  const point = newId<PointId>()
  const record = (await driver.readRecord(layer)) ?? recordOf(driver.pool, layer)
  const role = driver.abilities.pointsPerLayer === 'one' ? 'frozen' : record.role
  await driver.mark(layer, point, { ...record, role, points: [...record.points, pointRecord(point, record.sizeBytes)] })
  return { layer, point }
}
