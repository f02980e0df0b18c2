/**
 * Layers as qcow2 files in a directory, one point a file. Runs in the agent. It makes files itself and asks `qemu-img` only
 * where data or other people's images are read; who has a file open is asked of the file's own locks (`holds.ts`).
 */
import { link, mkdir, open, readdir, rename, rm, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import type { Bytes, ImageId, LayerId, OperationId, PointId, PoolId } from '../../../domain/ids.ts'
import { refuse } from '../../../domain/refusals.ts'
import type { LayerRecord, Merge, PointRef, StorageAbilities, StorageDriver, Survey } from '../../../ports/storage-driver.ts'
import { allowWritingFile, type DiskOwner, freezeFile, isFrozen } from './access.ts'
import { blankImage, largestImage } from './blank.ts'
import { exists, place, readIfThere, removeDurably, sync, writeDurably } from './durable.ts'
import { Holds } from './holds.ts'
import { convertUpload, type LowUser } from './import-upload.ts'
import { Merging } from './merge.ts'
import { layerFile, PoolFiles } from './pool-files.ts'
import { readRecordFile, writeRecordFile } from './record.ts'
import { allocatedBytes, headerOf, isEmptyImage, surveyPool } from './survey.ts'
import { runTool, toolFailure } from './tool.ts'

export type Qcow2Options = {
  readonly directory: string
  /** Where notes about processes lie; does not outlive the machine's boot. */
  readonly runtime: string
  readonly diskOwner: DiskOwner
  readonly lowUser: LowUser
  /** Whether agents of several hosts reach the directory. */
  readonly shared?: boolean
  readonly holdPatienceMs?: number
}

const quickDeadlineMs = 60_000

export class Qcow2Driver implements StorageDriver {
  readonly kind = 'qcow2'
  readonly pool: PoolId
  readonly abilities: StorageAbilities
  readonly files: PoolFiles
  readonly #owner: DiskOwner
  readonly #lowUser: LowUser
  readonly #holds: Holds

  private constructor(pool: PoolId, options: Qcow2Options) {
    this.pool = pool
    this.abilities = { livePointBy: 'qemu', pointsPerLayer: 'one', sharedBetweenHosts: options.shared ?? false }
    this.files = new PoolFiles(options.directory)
    this.#owner = options.diskOwner
    this.#lowUser = options.lowUser
    this.#holds = new Holds(join(options.runtime, `holds-${pool}`), this.files.layer, options.holdPatienceMs)
  }

  /** Opens the pool in the directory, which becomes one if it is empty. Refused when another pool lies there. */
  static async open(pool: PoolId, options: Qcow2Options): Promise<Qcow2Driver> {
    const driver = new Qcow2Driver(pool, options)
    const { files } = driver
    for (const directory of [files.directory, files.layers, files.blobs])
      await mkdir(directory, { recursive: true, mode: 0o755 })
    await mkdir(files.incoming, { recursive: true, mode: 0o700 })
    const text = await readIfThere(files.identity)
    if (text === null) await writeDurably(files.identity, `${JSON.stringify({ format: 1, id: pool })}\n`)
    else if (JSON.parse(text).id !== pool)
      throw refuse.hostFailure({ what: `the pool's directory holds another pool than ${pool}` })
    await driver.#holds.open()
    return driver
  }

  /** Lets go of what was kept ready. Holds stay: they outlive the agent. */
  close = (): Promise<void> => this.#holds.close()

  async newLayer(layer: LayerId, from: PointRef | null, size: Bytes, record: LayerRecord): Promise<void> {
    if (size <= 0 || size % 512 !== 0 || size > largestImage) {
      throw refuse.malformed({ why: `A disk of ${size} bytes cannot be made: whole sectors of 512, at most ${largestImage}.` })
    }
    const path = this.files.layer(layer)
    if (await exists(path)) return this.#describeIfNot(record)
    if (from !== null) await this.#requireLayer(from.layer)
    const blank = blankImage(size, from === null ? null : layerFile(from.layer))
    await writeRecordFile(this.files, record)
    await place(
      path,
      async (file) => {
        await file.write(blank.bytes)
        await file.truncate(blank.fileBytes)
        if (this.#owner !== null) await file.chown(this.#owner.uid, this.#owner.gid)
      },
      0o600,
    )
    await sync(this.files.layers)
  }

  async mark(layer: LayerId, _point: PointId, record: LayerRecord): Promise<void> {
    await this.#requireLayer(layer)
    if (!(await this.#holds.isHeld(layer)) && (await this.#holds.isTaken(layer, 'read'))) throw refuse.diskHeldOpen()
    await this.freeze(layer)
    await writeRecordFile(this.files, record)
  }

  async unmark(layer: LayerId, _point: PointId, record: LayerRecord): Promise<void> {
    await this.#requireLayer(layer)
    await this.allowWriting(layer)
    await writeRecordFile(this.files, record)
  }

  async remove(layer: LayerId): Promise<void> {
    const path = this.files.layer(layer)
    if (await exists(path)) {
      const frozen = await isFrozen(path)
      if (frozen) await allowWritingFile(path, this.#owner)
      if (await this.#holds.isTaken(layer, 'write')) {
        if (frozen) await freezeFile(path, this.#owner)
        throw refuse.diskHeldOpen()
      }
      await rm(path, { force: true })
    }
    await rm(`${path}.tmp`, { force: true })
    await sync(this.files.layers)
    await rm(`${this.files.record(layer)}.tmp`, { force: true })
    await removeDurably(this.files.record(layer))
  }

  describe = (record: LayerRecord): Promise<void> => writeRecordFile(this.files, record)

  readRecord = (layer: LayerId): Promise<LayerRecord | null> => readRecordFile(this.files, layer)

  async grow(layer: LayerId, size: Bytes): Promise<void> {
    const path = this.files.layer(layer)
    const header = await headerOf(path)
    if (header === null || (await isFrozen(path))) throw refuse.hostFailure({ what: `layer ${layer} is no head that can grow` })
    if (header.sizeBytes >= size) return sync(path)
    const args = ['resize', '-q', '-f', 'qcow2', path, String(size)]
    const result = await runTool('qemu-img', args, { deadlineMs: quickDeadlineMs })
    if (result.code !== 0) throw toolFailure('growing a layer', result, this.files.withoutPaths, this.pool)
    await sync(path)
  }

  async merge(merge: Merge, signal?: AbortSignal): Promise<void> {
    const merging = this.#merging(merge, signal)
    if (await merging.isDone()) return merging.sweep()
    await merging.requireClosed()
    await merging.begin()
    await merging.copy()
    await merging.finish()
  }

  /** For a merge that a running QEMU does: before its job is begun. */
  beginMerge = async (merge: Merge): Promise<void> => {
    const merging = this.#merging(merge)
    if (!(await merging.isDone())) await merging.begin()
  }

  /** After QEMU's job is finalized, what it wrote was flushed, and it has let go of the layer that goes. */
  finishMerge = async (merge: Merge): Promise<void> => {
    const merging = this.#merging(merge)
    await ((await merging.isDone()) ? merging.sweep() : merging.finish())
  }

  hold = (holder: OperationId, layers: readonly LayerId[]): Promise<void> => this.#holds.take(holder, layers)

  release = (holder: OperationId): Promise<void> => this.#holds.release(holder)

  holders = (): Promise<readonly OperationId[]> => this.#holds.holders()

  async hasWriter(layer: LayerId): Promise<boolean> {
    return (await exists(this.files.layer(layer))) && this.#holds.isTaken(layer, 'read')
  }

  async importUpload(
    layer: LayerId,
    upload: string,
    format: 'raw' | 'qcow2',
    record: LayerRecord,
  ): Promise<{ sizeBytes: Bytes }> {
    const target = this.files.layer(layer)
    if (!(await exists(target))) {
      await writeRecordFile(this.files, record)
      const { freeBytes } = await this.space()
      const job = { upload: this.files.upload(upload), format, target, lowUser: this.#lowUser, freeBytes, pool: this.pool }
      await convertUpload(job)
    }
    await this.freeze(layer)
    const sizeBytes = (await headerOf(target))?.sizeBytes ?? 0
    const points = record.points.map((point) => ({ ...point, sizeBytes }))
    await writeRecordFile(this.files, { ...record, sizeBytes, points })
    return { sizeBytes }
  }

  async adoptBlob(image: ImageId, upload: string): Promise<void> {
    const path = this.files.blob(image)
    if (await exists(path)) return
    const from = this.files.upload(upload)
    await using file = await open(from, 'r')
    await file.sync()
    await link(from, path)
    await freezeFile(path, this.#owner)
    await sync(path)
    await sync(this.files.blobs)
  }

  removeBlob = (image: ImageId): Promise<void> => removeDurably(this.files.blob(image))

  discardUpload = (upload: string): Promise<void> => removeDurably(this.files.upload(upload))

  async keepDatabaseDump(upload: string, keep: number): Promise<void> {
    const { database, incoming } = this.files
    await mkdir(database, { recursive: true, mode: 0o700 })
    const from = this.files.upload(upload)
    if (await exists(from)) {
      await sync(from)
      await rename(from, join(database, upload))
    }
    const kept = (await readdir(database)).sort().reverse()
    for (const old of kept.slice(keep)) await rm(join(database, old), { force: true })
    await sync(database)
    await sync(incoming)
  }

  isEmpty = (layer: LayerId): Promise<boolean> => isEmptyImage(this.files.layer(layer))

  async allocated(layers: readonly LayerId[]): Promise<Readonly<Record<LayerId, Bytes>>> {
    const sizes = await Promise.all(
      layers.map(async (layer) => [layer, await allocatedBytes(this.files.layer(layer))] as const),
    )
    return Object.fromEntries(sizes)
  }

  survey = (): Promise<Survey> => surveyPool(this.files)

  async space(): Promise<{ totalBytes: Bytes; freeBytes: Bytes }> {
    const { blocks, bavail, bsize } = await statfs(this.files.directory)
    return { totalBytes: blocks * bsize, freeBytes: bavail * bsize }
  }

  /** Makes the layer's file unwritable for QEMU's user. */
  freeze = async (layer: LayerId): Promise<void> => {
    await freezeFile(this.files.layer(layer), this.#owner)
    await sync(this.files.layer(layer))
  }

  /** Lets QEMU's user write the layer's file: it is a head again, or a merge inside a running machine writes it. */
  allowWriting = async (layer: LayerId): Promise<void> => {
    await allowWritingFile(this.files.layer(layer), this.#owner)
    await sync(this.files.layer(layer))
  }

  #merging = (merge: Merge, signal?: AbortSignal): Merging =>
    new Merging(
      {
        files: this.files,
        owner: this.#owner,
        pool: this.pool,
        isOpen: (layer) => this.#holds.isTaken(layer, 'write'),
      },
      merge,
      signal,
    )

  async #describeIfNot(record: LayerRecord): Promise<void> {
    if ((await this.readRecord(record.layer)) === null) await this.describe(record)
    else await sync(this.files.layers)
  }

  async #requireLayer(layer: LayerId): Promise<void> {
    if (!(await exists(this.files.layer(layer)))) {
      throw refuse.hostFailure({ what: `layer ${layer} is not in pool ${this.pool}` })
    }
  }
}
