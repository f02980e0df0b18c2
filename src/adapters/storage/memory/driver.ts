/**
 * A pool in memory, in both shapes, so that neither is a special case of the other. Faults are put in by the caller, who
 * wraps it; what it holds can be compared deeply (`state`), written and read by tests.
 */
import type { Bytes, ImageId, LayerId, OperationId, PointId, PoolId } from '../../../domain/ids.ts'
import { refuse } from '../../../domain/refusals.ts'
import type { LayerRecord, Merge, PointRef, StorageAbilities, StorageDriver, Survey } from '../../../ports/storage-driver.ts'
import { childrenOf, mergeInMemory } from './merging.ts'
import { blockBytes, contentOf, type Layers, type MemoryLayer, type MemoryUpload } from './state.ts'

export class MemoryDriver implements StorageDriver {
  readonly kind = 'memory'
  readonly pool: PoolId
  readonly abilities: StorageAbilities
  totalBytes: Bytes = 1024 ** 4
  readonly #layers: Layers = new Map()
  readonly #holds = new Map<OperationId, readonly LayerId[]>()
  readonly #writers = new Map<LayerId, number>()
  readonly #uploads = new Map<string, MemoryUpload>()
  readonly #blobs = new Map<ImageId, MemoryUpload>()

  constructor(pool: PoolId, pointsPerLayer: 'one' | 'many') {
    this.pool = pool
    this.abilities = { livePointBy: pointsPerLayer === 'one' ? 'qemu' : 'storage', pointsPerLayer, sharedBetweenHosts: true }
  }

  async newLayer(layer: LayerId, from: PointRef | null, size: Bytes, record: LayerRecord): Promise<void> {
    if (this.#layers.has(layer)) return
    const below = from === null ? 0 : this.#sizeOf(from)
    this.#layers.set(layer, {
      size,
      parent: from,
      window: Math.min(below, size),
      blocks: new Map(),
      frozen: false,
      points: new Map(),
      record,
    })
  }

  async mark(layer: LayerId, point: PointId, record: LayerRecord): Promise<void> {
    const found = this.#get(layer)
    const one = this.abilities.pointsPerLayer === 'one'
    if (one && this.#writers.has(layer)) throw refuse.diskHeldOpen()
    if (!found.points.has(point)) found.points.set(point, { size: found.size, blocks: one ? null : new Map(found.blocks) })
    if (one) found.frozen = true
    found.record = record
  }

  async unmark(layer: LayerId, point: PointId, record: LayerRecord): Promise<void> {
    const found = this.#get(layer)
    const many = this.abilities.pointsPerLayer === 'many'
    if (many && childrenOf(this.#layers, layer).some(({ parent }) => parent?.point === point)) {
      throw refuse.hostFailure({ what: `point ${point} still has children` })
    }
    found.points.delete(point)
    found.frozen = false
    found.record = record
  }

  async remove(layer: LayerId): Promise<void> {
    if (this.#isOpen(layer)) throw refuse.diskHeldOpen()
    this.#layers.delete(layer)
  }

  async describe(record: LayerRecord): Promise<void> {
    this.#get(record.layer).record = record
  }

  async readRecord(layer: LayerId): Promise<LayerRecord | null> {
    return this.#layers.get(layer)?.record ?? null
  }

  async grow(layer: LayerId, size: Bytes): Promise<void> {
    if (this.#writers.has(layer)) throw refuse.diskHeldOpen()
    const found = this.#get(layer)
    found.size = Math.max(found.size, size)
  }

  async merge(merge: Merge): Promise<void> {
    if (this.#isOpen(merge.lower) || this.#isOpen(merge.upper)) throw refuse.layersBusy()
    mergeInMemory(this.#layers, merge, this.abilities.pointsPerLayer)
  }

  async hold(holder: OperationId, layers: readonly LayerId[]): Promise<void> {
    for (const layer of layers) {
      this.#get(layer)
      const heldByOther = [...this.#holds].some(([other, held]) => other !== holder && held.includes(layer))
      if (this.#writers.has(layer) || heldByOther) throw refuse.diskHeldOpen()
    }
    this.#holds.set(holder, [...layers])
  }

  async release(holder: OperationId): Promise<void> {
    this.#holds.delete(holder)
  }

  async holders(): Promise<readonly OperationId[]> {
    return [...this.#holds.keys()]
  }

  async hasWriter(layer: LayerId): Promise<boolean> {
    return this.#isOpen(layer)
  }

  async importUpload(
    layer: LayerId,
    upload: string,
    _format: 'raw' | 'qcow2',
    record: LayerRecord,
  ): Promise<{ sizeBytes: Bytes }> {
    const existing = this.#layers.get(layer)
    if (existing) return { sizeBytes: existing.size }
    const { sizeBytes, blocks, refusedBecause } = this.#upload(upload)
    if (refusedBecause !== undefined) throw refuse.imageDataRefused({ why: refusedBecause })
    const size = Math.ceil(sizeBytes / 512) * 512
    const points = new Map(record.points.map(({ point }) => [point, { size, blocks: this.#ownBlocks(blocks) }]))
    const imported = { ...record, sizeBytes: size }
    this.#layers.set(layer, { size, parent: null, window: 0, blocks: new Map(blocks), frozen: true, points, record: imported })
    return { sizeBytes: size }
  }

  async adoptBlob(image: ImageId, upload: string): Promise<void> {
    if (!this.#blobs.has(image)) this.#blobs.set(image, this.#upload(upload))
  }

  async removeBlob(image: ImageId): Promise<void> {
    this.#blobs.delete(image)
  }

  async keepDatabaseDump(upload: string): Promise<void> {
    this.#uploads.delete(upload)
  }

  async discardUpload(upload: string): Promise<void> {
    this.#uploads.delete(upload)
  }

  async isEmpty(layer: LayerId): Promise<boolean> {
    return this.#get(layer).blocks.size === 0
  }

  async allocated(layers: readonly LayerId[]): Promise<Readonly<Record<LayerId, Bytes>>> {
    return Object.fromEntries(layers.map((layer) => [layer, allocatedBytes(this.#layers.get(layer))]))
  }

  async survey(): Promise<Survey> {
    const layers = [...this.#layers].map(([layer, found]) => ({
      layer,
      record: found.record,
      sizeBytes: found.size,
      allocatedBytes: allocatedBytes(found),
      backing: found.parent?.layer ?? null,
    }))
    return { layers, unfinished: [], foreign: [] }
  }

  async space(): Promise<{ totalBytes: Bytes; freeBytes: Bytes }> {
    const used = [...this.#layers.values()].reduce((sum, layer) => sum + allocatedBytes(layer), 0)
    return { totalBytes: this.totalBytes, freeBytes: this.totalBytes - used }
  }

  /** For tests: all that the pool holds, as plain data. */
  state(): unknown {
    return structuredClone({
      layers: this.#layers,
      holds: this.#holds,
      writers: this.#writers,
      blobs: this.#blobs,
      uploads: this.#uploads,
    })
  }

  /** For tests: another pool that holds the same; nobody has its layers open for writing. */
  copy(): MemoryDriver {
    const copy = new MemoryDriver(this.pool, this.abilities.pointsPerLayer)
    for (const [layer, found] of this.#layers) copy.#layers.set(layer, structuredClone(found))
    for (const [holder, layers] of this.#holds) copy.#holds.set(holder, layers)
    for (const [name, upload] of this.#uploads) copy.#uploads.set(name, upload)
    for (const [image, blob] of this.#blobs) copy.#blobs.set(image, blob)
    return copy
  }

  /** For tests: a machine opens the layer for writing; the result closes it. */
  openForWriting(layer: LayerId): () => void {
    const held = [...this.#holds.values()].some((layers) => layers.includes(layer))
    if (this.#writers.has(layer) || held || this.#get(layer).frozen) throw refuse.diskHeldOpen()
    this.#writers.set(layer, 1)
    return () => {
      this.#writers.delete(layer)
    }
  }

  /** For tests: fills one block with a byte. */
  write(layer: LayerId, block: number, byte: number): void {
    const found = this.#get(layer)
    if (found.frozen) throw new Error(`layer ${layer} is frozen`)
    if (block * blockBytes >= found.size) throw new Error(`block ${block} lies beyond the end of layer ${layer}`)
    found.blocks.set(block, byte)
  }

  /** For tests: the blocks that are not zero, in the layer or in one of its points. */
  read(layer: LayerId, point?: PointId): Record<number, number> {
    const found = this.#get(layer)
    return contentOf(this.#layers, found, point === undefined ? undefined : found.points.get(point))
  }

  has(layer: LayerId): boolean {
    return this.#layers.has(layer)
  }

  putUpload(name: string, upload: MemoryUpload): void {
    this.#uploads.set(name, upload)
  }

  #get(layer: LayerId): MemoryLayer {
    const found = this.#layers.get(layer)
    if (found === undefined) throw refuse.hostFailure({ what: `layer ${layer} is not in pool ${this.pool}` })
    return found
  }

  #sizeOf(from: PointRef): Bytes {
    const below = this.#get(from.layer)
    const point = below.points.get(from.point)
    if (point === undefined && this.abilities.pointsPerLayer === 'many') {
      throw refuse.hostFailure({ what: `point ${from.point} is not in layer ${from.layer}` })
    }
    return point?.size ?? below.size
  }

  #isOpen(layer: LayerId): boolean {
    return this.#writers.has(layer) || [...this.#holds.values()].some((layers) => layers.includes(layer))
  }

  #ownBlocks(blocks: MemoryUpload['blocks']): MemoryUpload['blocks'] | null {
    return this.abilities.pointsPerLayer === 'many' ? new Map(blocks) : null
  }

  #upload(name: string): MemoryUpload {
    const upload = this.#uploads.get(name)
    if (upload === undefined) throw refuse.hostFailure({ what: `upload ${name} is not in pool ${this.pool}` })
    return upload
  }
}

const allocatedBytes = (layer: MemoryLayer | undefined): Bytes => {
  if (layer === undefined) return 0
  const own = [...layer.points.values()].reduce((sum, { blocks }) => sum + (blocks?.size ?? 0), layer.blocks.size)
  return own * blockBytes
}
