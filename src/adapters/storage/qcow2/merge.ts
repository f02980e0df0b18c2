/**
 * Merging two layers, killed at any moment and repeated until done. Three parts, so that a merge inside a running machine
 * shares the first and the last:
 *
 *   begin   what must be said on the storage before the first byte moves
 *   copy    by `qemu-img`, writethrough: without it the header names the new backing file before the tables that lead to the
 *           copied clusters are on the disk, and a kill in between loses them silently
 *   finish  names and records; of a push, also the removal of what was pushed
 *
 * `pull` changes nothing that is seen until its end: `upper` reads the same upon `lower` and upon `base`, and `lower` is
 * whole throughout, and stays until somebody removes it. What a kill leaves is told by `upper`'s header.
 *
 * `push` destroys `lower`'s own content, so it can only go forward. The marker `<upper>.pushing`, written before the first
 * byte, says so and goes last:
 *
 *   marker, upper's file        `lower`'s point is no more; `upper` reads the same throughout; copy again and go on
 *   marker, no upper's file     all is copied, children and records name `lower`; only traces are left to remove
 *   no marker, no upper's file  done
 */
import { type FileHandle, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { LayerId } from '../../../domain/ids.ts'
import { refuse } from '../../../domain/refusals.ts'
import type { LayerRecord, Merge } from '../../../ports/storage-driver.ts'
import { recordAfterPull, recordAfterPush, recordOfMovedChild, recordWhilePushed } from '../merged-records.ts'
import { allowWritingFile, type DiskOwner, freezeFile } from './access.ts'
import { blankImage } from './blank.ts'
import { exists, place, removeDurably, sync, writeDurably } from './durable.ts'
import { coversAll, mapOf, sameContent, sameUpon, withEnd } from './merge-proof.ts'
import { blankFile, layerFile, layerOfFile, type PoolFiles } from './pool-files.ts'
import { readRecordFile, writeRecordFile } from './record.ts'
import { headerOf } from './survey.ts'
import { runTool, saysLocked, type ToolResult, toolFailure } from './tool.ts'

/** A merge of terabytes on slow disks; it is in nobody's way, and repeating it costs more than waiting. */
const copyDeadlineMs = 12 * 3600 * 1000
/** Beyond its end it reads as zeros too; larger ones take longer to open. */
const blankBytes = 16 * 1024 ** 4

export type MergePlace = {
  readonly files: PoolFiles
  readonly owner: DiskOwner
  readonly pool: string
  /** Whether any process has the layer open. */
  readonly isOpen: (layer: LayerId) => Promise<boolean>
}

const isFrozenRole = (record: LayerRecord | null): boolean => record?.role === 'frozen' || record?.role === 'image'

export class Merging {
  readonly #place: MergePlace
  readonly #files: PoolFiles
  readonly #merge: Merge
  readonly #signal: AbortSignal | undefined

  constructor(place: MergePlace, merge: Merge, signal?: AbortSignal) {
    this.#place = place
    this.#files = place.files
    this.#merge = merge
    this.#signal = signal
  }

  /** The layer that the merge removes is gone. */
  async isDone(): Promise<boolean> {
    const { direction, lower, upper } = this.#merge
    return !(await exists(this.#files.layer(direction === 'pull' ? lower : upper)))
  }

  /** Says what is to happen, and lets the file that will absorb the other be written. */
  async begin(): Promise<void> {
    const { direction, lower, upper, base } = this.#merge
    const under = await this.#backingOf(upper)
    const started = direction === 'pull' && under === base
    if (under !== lower && !started) throw refuse.hostFailure({ what: `layer ${upper} does not lie upon layer ${lower}` })
    if (direction === 'push') await this.#beginPush()
    await allowWritingFile(this.#files.layer(direction === 'pull' ? upper : lower), this.#place.owner)
  }

  /** Refused while anybody has a layer open that the merge would write: a machine, or a backup that reads it. */
  async requireClosed(): Promise<void> {
    const { direction, lower, upper } = this.#merge
    for (const layer of direction === 'pull' ? [upper] : [lower, upper, ...(await this.#childrenOfUpper())]) {
      if (await this.#place.isOpen(layer)) throw refuse.layersBusy()
    }
  }

  /** Copies with `qemu-img`, and proves it. Nobody may have the layers open. */
  async copy(): Promise<void> {
    const { direction, lower, upper } = this.#merge
    await this.requireClosed()
    if (direction === 'push') await this.#copyDown()
    else await this.#copyUp()
    await this.#tidyTables(direction === 'pull' ? upper : lower)
  }

  /** Records and names; a pushed layer goes. The source's content must be in the target, and durable. */
  async finish(): Promise<void> {
    const { lower, upper, base, direction } = this.#merge
    if (direction === 'push') return this.#finishPush()
    if ((await this.#backingOf(upper)) !== base) throw refuse.hostFailure({ what: `layer ${upper} still needs layer ${lower}` })
    const [upperRecord, lowerRecord] = [await this.#record(upper), await this.#record(lower)]
    if (upperRecord.parent?.layer === lower) await writeRecordFile(this.#files, recordAfterPull(upperRecord, lowerRecord))
    await this.#settleAccess(upper, upperRecord)
    await removeDurably(this.#files.pushing(upper)) // of a push that was given up
  }

  /** What a kill after the source's removal left behind. */
  async sweep(): Promise<void> {
    const { direction, lower, upper } = this.#merge
    await removeDurably(this.#files.record(direction === 'pull' ? lower : upper))
    if (direction === 'push') await removeDurably(this.#files.pushing(upper))
  }

  async #copyUp(): Promise<void> {
    const { lower, upper, base } = this.#merge
    const onto = base === null ? blankFile : layerFile(base)
    if ((await this.#backingOf(upper)) === lower) {
      if (base === null) await this.#layOnBlank(lower)
      await this.#rebase(upper, onto, 'copying')
    }
    if (!(await this.#pullIsProved(onto))) {
      await this.#rebase(upper, layerFile(lower), 'unsafe')
      throw refuse.hostFailure({ what: `merging layer ${lower} upwards did not copy everything; it was taken back` })
    }
    if (base === null) await this.#rebase(upper, null, 'unsafe')
  }

  /**
   * Without a common base `qemu-img rebase` reads the whole virtual disk to find out what differs from nothing: 512 GiB of
   * zeros, if need be. Upon an empty image it visits only what is there.
   */
  async #layOnBlank(lower: LayerId): Promise<void> {
    const path = join(this.#files.layers, blankFile)
    if (!(await exists(path))) {
      const { bytes, fileBytes } = blankImage(blankBytes, null)
      const fill = async (file: FileHandle) => {
        await file.write(bytes)
        await file.truncate(fileBytes)
      }
      await place(path, fill, 0o444)
      await sync(this.#files.layers)
    }
    await this.#rebase(lower, blankFile, 'unsafe')
    await this.#settleAccess(lower, await this.#record(lower))
  }

  async #pullIsProved(onto: string): Promise<boolean> {
    const { lower, upper, base } = this.#merge
    const [source, target] = [await mapOf(this.#run, layerFile(lower)), await mapOf(this.#run, layerFile(upper))]
    const [ends, seen] = [await this.#sizeOf(lower), await this.#sizeOf(upper)]
    const below = base === null ? 0 : await this.#sizeOf(base)
    if (source && target && coversAll(withEnd(source, ends, Math.min(seen, below)), withEnd(target, seen, ends))) return true
    return sameUpon(this.#run, layerFile(upper), onto, layerFile(lower))
  }

  /** An earlier attempt that was killed has reserved clusters that nothing uses. */
  async #tidyTables(layer: LayerId): Promise<void> {
    const checked = await this.#run(['check', '-q', '-f', 'qcow2', layerFile(layer)])
    if (checked.code === 0) return
    await this.#must(['check', '-q', '-r', 'leaks', '-f', 'qcow2', layerFile(layer)])
    await sync(this.#files.layer(layer))
  }

  async #beginPush(): Promise<void> {
    const { lower, upper } = this.#merge
    if ((await this.#sizeOf(upper)) < (await this.#sizeOf(lower))) {
      throw refuse.hostFailure({ what: `layer ${upper} is smaller than the layer that it would be pushed into` })
    }
    await writeDurably(this.#files.pushing(upper), `${JSON.stringify(this.#merge)}\n`)
    await writeRecordFile(this.#files, recordWhilePushed(await this.#record(lower)))
  }

  async #copyDown(): Promise<void> {
    const { lower, upper } = this.#merge
    await allowWritingFile(this.#files.layer(upper), this.#place.owner)
    await this.#must(['commit', '-q', '-d', '-t', 'writethrough', '-f', 'qcow2', layerFile(upper)])
    await sync(this.#files.layer(lower))
    const [source, target] = [await mapOf(this.#run, layerFile(upper)), await mapOf(this.#run, layerFile(lower))]
    if (source && target && coversAll(source, target)) return
    if (await sameContent(this.#run, layerFile(upper), layerFile(lower))) return
    throw refuse.hostFailure({ what: `merging layer ${upper} downwards did not copy everything; nothing was removed` })
  }

  async #finishPush(): Promise<void> {
    const { lower, upper } = this.#merge
    for (const child of await this.#childrenOfUpper()) await this.#moveChild(child)
    const [upperRecord, lowerRecord] = [await this.#record(upper), await this.#record(lower)]
    await writeRecordFile(this.#files, recordAfterPush(upperRecord, lowerRecord))
    await this.#settleAccess(lower, upperRecord)
    if (await this.#place.isOpen(upper)) throw refuse.layersBusy()
    await rm(this.#files.layer(upper), { force: true })
    await sync(this.#files.layers)
    await this.sweep()
  }

  async #moveChild(child: LayerId): Promise<void> {
    const { lower, upper } = this.#merge
    const record = await this.#record(child)
    if ((await this.#backingOf(child)) === upper) await this.#rebase(child, layerFile(lower), 'unsafe')
    await this.#settleAccess(child, record)
    await writeRecordFile(this.#files, recordOfMovedChild(record, upper, lower))
  }

  /** Layers whose file or record still names `upper` as what they stand upon. */
  async #childrenOfUpper(): Promise<LayerId[]> {
    const { upper } = this.#merge
    const children: LayerId[] = []
    for (const name of await readdir(this.#files.layers)) {
      const layer = layerOfFile(name)
      if (layer === null) continue
      const names = [await this.#backingOf(layer), (await readRecordFile(this.#files, layer))?.parent?.layer]
      if (names.includes(upper)) children.push(layer)
    }
    return children
  }

  async #rebase(layer: LayerId, file: string | null, how: 'copying' | 'unsafe'): Promise<void> {
    await allowWritingFile(this.#files.layer(layer), this.#place.owner)
    const onto = file === null ? ['-b', ''] : ['-b', file, '-F', 'qcow2']
    const unsafe = how === 'unsafe' ? ['-u'] : []
    await this.#must(['rebase', '-q', ...unsafe, '-t', 'writethrough', '-f', 'qcow2', ...onto, layerFile(layer)])
    await sync(this.#files.layer(layer))
  }

  async #settleAccess(layer: LayerId, record: LayerRecord): Promise<void> {
    const path = this.#files.layer(layer)
    await (isFrozenRole(record) ? freezeFile : allowWritingFile)(path, this.#place.owner)
    await sync(path)
  }

  #run = (args: readonly string[]): Promise<ToolResult> =>
    runTool('qemu-img', args, { deadlineMs: copyDeadlineMs, cwd: this.#files.layers, signal: this.#signal })

  async #must(args: readonly string[]): Promise<void> {
    const result = await this.#run(args)
    if (result.code === 0) return
    this.#signal?.throwIfAborted()
    if (saysLocked(result.stderr)) throw refuse.layersBusy()
    throw toolFailure('merging layers', result, this.#files.withoutPaths, this.#place.pool)
  }

  async #sizeOf(layer: LayerId): Promise<number> {
    return (await headerOf(this.#files.layer(layer)))?.sizeBytes ?? 0
  }

  async #backingOf(layer: LayerId): Promise<LayerId | null> {
    const name = (await headerOf(this.#files.layer(layer)))?.backingFile
    return name ? layerOfFile(name) : null
  }

  async #record(layer: LayerId): Promise<LayerRecord> {
    const record = await readRecordFile(this.#files, layer)
    if (record === null) throw refuse.hostFailure({ what: `the record of layer ${layer} is missing, and it cannot be merged` })
    return record
  }
}
