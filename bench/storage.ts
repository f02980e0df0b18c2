/**
 * A rollback's storage part - new layer from the point, hold, mark, describe, release - beside `qemu-img snapshot -a` on a file with the
 * same data, in turns. No machine runs; both end durable (`snapshot -a` is followed by a sync of its file).
 */
import { execFile } from 'node:child_process'
import { chmod, mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { Qcow2Driver } from '../src/adapters/storage/qcow2/driver.ts'
import { type LayerId, newId, type OperationId, type PointId, type PoolId } from '../src/domain/ids.ts'
import { GiB } from '../src/domain/volume.ts'
import { layerRecordOf } from '../test/support/real-guest.ts'
import { type Spread, show, spread, timed } from './statistics.ts'

const run = promisify(execFile)
const qemuImg = (...args: string[]) => run('qemu-img', args, { timeout: 600_000 })

/** `allocated`: every table is there, as after years of use; the data are zeros. */
export const fills = ['256 MiB', '1 GiB', 'allocated'] as const
export type Fill = (typeof fills)[number]
export type StorageFigures = {
  readonly sizeGib: number
  readonly fill: Fill
  readonly ours: Spread
  readonly snapshotA: Spread
}

export async function benchStorage(
  sizesGib: readonly number[],
  runs: number,
  say: (line: string) => void,
): Promise<StorageFigures[]> {
  const folder = await mkdtemp(join(tmpdir(), 'comeback-bench-'))
  await chmod(folder, 0o755)
  try {
    const figures: StorageFigures[] = []
    for (const fill of fills) {
      for (const sizeGib of sizesGib) {
        const figure = await compare(folder, sizeGib, fill, runs)
        figures.push(figure)
        say(`storage: ${sizeGib} GiB, ${fill}: ${show(figure.ours)} s, snapshot -a ${show(figure.snapshotA)} s`)
      }
    }
    return figures
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function compare(folder: string, sizeGib: number, fill: Fill, runs: number): Promise<StorageFigures> {
  const size = sizeGib * GiB
  const pool = newId<PoolId>()
  const directory = join(folder, pool)
  const driver = await Qcow2Driver.open(pool, { directory, runtime: join(folder, 'run'), diskOwner: null, lowUser: null })
  const base = newId<LayerId>()
  const point = newId<PointId>()
  const theirs = join(folder, `${pool}.qcow2`)
  try {
    await driver.newLayer(base, null, size, layerRecordOf(base, pool, 'head', size))
    await fillImage(driver.files.layer(base), fill, size)
    await driver.mark(base, point, layerRecordOf(base, pool, 'frozen', size))
    await qemuImg('create', '-q', '-f', 'qcow2', theirs, String(size))
    await fillImage(theirs, fill, size)
    await qemuImg('snapshot', '-c', 'a', theirs)

    const from = { layer: base, point }
    let head = newId<LayerId>()
    await driver.newLayer(head, from, size, layerRecordOf(head, pool, 'head', size, from))
    const ours: number[] = []
    const snapshotA: number[] = []
    for (let at = 0; at < runs; at += 1) {
      const next = newId<LayerId>()
      ours.push(await timed(() => rollBack(driver, from, head, next, size)))
      await removed(driver, head)
      head = next
      snapshotA.push(await timed(() => snapshotBack(theirs)))
    }
    return { sizeGib, fill, ours: spread(ours), snapshotA: spread(snapshotA) }
  } finally {
    await driver.close()
    await rm(directory, { recursive: true, force: true })
    await rm(theirs, { force: true })
  }
}

type From = { readonly layer: LayerId; readonly point: PointId }

async function rollBack(driver: Qcow2Driver, from: From, head: LayerId, next: LayerId, size: number): Promise<void> {
  const operation = newId<OperationId>()
  const { pool } = driver
  await driver.newLayer(next, from, size, layerRecordOf(next, pool, 'prepared', size, from))
  await driver.hold(operation, [head])
  await driver.mark(head, newId<PointId>(), layerRecordOf(head, pool, 'frozen', size, from))
  await driver.describe(layerRecordOf(next, pool, 'head', size, from))
  await driver.release(operation)
}

/** A killed daemon's threads may keep its locks for a moment after the process is gone; the product's collector tries again too. */
async function removed(driver: Qcow2Driver, layer: LayerId): Promise<void> {
  for (let left = 50; ; left -= 1) {
    try {
      return await driver.remove(layer)
    } catch (error) {
      if (left === 0) throw error
      await sleep(20)
    }
  }
}

async function snapshotBack(file: string): Promise<void> {
  await qemuImg('snapshot', '-a', 'a', file)
  await using handle = await open(file, 'r')
  await handle.sync()
}

async function fillImage(file: string, fill: Fill, size: number): Promise<void> {
  if (fill === 'allocated') {
    const whole = `${file}.whole`
    await qemuImg('create', '-q', '-f', 'qcow2', '-o', 'preallocation=metadata', whole, String(size))
    await run('mv', [whole, file], { timeout: 60_000 })
  } else {
    const bytes = fill === '1 GiB' ? GiB : GiB / 4
    await run('qemu-io', ['-f', 'qcow2', '-c', `write -q -P 7 0 ${bytes}`, file], { timeout: 600_000 })
  }
  await using handle = await open(file, 'r')
  await handle.sync()
}
