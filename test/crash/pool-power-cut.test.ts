/** The power of the pool's file system is cut after every call of the driver that returned; what it acknowledged is all there. */
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type ImageId, type LayerId, newId, type PointId } from '../../src/domain/ids.ts'
import type { Merge } from '../../src/ports/storage-driver.ts'
import { FragileDisk, whyNoPowerCut } from '../support/fragile-disk.ts'
import { type Qcow2Pool, qcow2Pool } from '../support/qcow2-pool.ts'
import { blockBytes, makeLayer, markPoint, pointRecord, recordOf, volumeFacts } from '../support/storage-fixtures.ts'

const MiB = 1024 ** 2
const size = 64 * blockBytes
const whyNot = whyNoPowerCut()

describe.skipIf(whyNot !== null)(`after a power cut${whyNot === null ? '' : ` (left out: ${whyNot})`}`, () => {
  let disk: FragileDisk
  let pool: Qcow2Pool
  beforeEach(async () => {
    disk = await FragileDisk.make(256 * MiB)
    pool = await qcow2Pool({ directory: join(disk.mountpoint, 'pool') })
  })
  afterEach(async () => {
    try {
      await pool.check()
    } finally {
      await pool.close()
      await disk.end()
    }
  })

  const isWritable = async (layer: LayerId) => ((await stat(pool.driver.files.layer(layer))).mode & 0o200) !== 0
  const layers = async () => (await pool.driver.survey()).layers.map(({ layer }) => layer)
  const unfinished = async () => (await pool.driver.survey()).unfinished

  test('the pool itself is there', async () => {
    await disk.losePower()
    expect(await (await pool.another()).survey()).toEqual({ layers: [], unfinished: [], foreign: [] })
  })

  test('a new layer is there, with its record', async () => {
    const layer = await makeLayer(pool, null, size)
    await disk.losePower()
    expect(await pool.read(layer)).toEqual({})
    expect(await pool.driver.readRecord(layer)).toMatchObject({ layer, role: 'head' })
  })

  test('an overlay is there, whole upon its point', async () => {
    const base = await makeLayer(pool, null, size)
    await pool.write(base, 3, 7)
    const from = await markPoint(pool, base)
    const layer = await makeLayer(pool, from, 2 * size)
    await disk.losePower()
    expect(await pool.read(layer)).toEqual({ 3: 7 })
    expect(await pool.driver.readRecord(layer)).toMatchObject({ parent: from })
  })

  test('a mark holds: content, record, and nobody may write', async () => {
    const layer = await makeLayer(pool, null, size)
    await pool.write(layer, 5, 9)
    const { point } = await markPoint(pool, layer)
    await disk.losePower()
    expect(await pool.read(layer)).toEqual({ 5: 9 })
    expect(await isWritable(layer)).toBe(false)
    expect((await pool.driver.readRecord(layer))?.points.map((each) => each.point)).toEqual([point])
  })

  test('a mark that was taken back is taken back', async () => {
    const layer = await makeLayer(pool, null, size)
    const { point } = await markPoint(pool, layer)
    await pool.driver.unmark(layer, point, recordOf(pool.driver.pool, layer))
    await disk.losePower()
    expect(await isWritable(layer)).toBe(true)
    expect((await pool.driver.readRecord(layer))?.points).toEqual([])
  })

  test('a description is the last one', async () => {
    const layer = await makeLayer(pool, null, size)
    for (const generation of [1, 2, 3]) {
      await pool.driver.describe(recordOf(pool.driver.pool, layer, { volume: volumeFacts(generation) }))
    }
    await disk.losePower()
    expect((await pool.driver.readRecord(layer))?.volume?.generation).toBe(3)
  })

  test('a grown layer is as large as was said', async () => {
    const layer = await makeLayer(pool, null, size)
    await pool.driver.grow(layer, 4 * size)
    await disk.losePower()
    expect((await pool.driver.survey()).layers[0]?.sizeBytes).toBe(4 * size)
  })

  test('a removed layer is gone, with its record', async () => {
    const layer = await makeLayer(pool, null, size)
    await disk.losePower()
    await pool.driver.remove(layer)
    await disk.losePower()
    expect([await layers(), await unfinished()]).toEqual([[], []])
  })

  test.each(['raw', 'qcow2'] as const)('an imported %s image is there, byte for byte', async (format) => {
    await pool.upload('sent', format, size, { 0: 1, 63: 2 })
    const [layer, point] = [newId<LayerId>(), newId<PointId>()]
    const record = recordOf(pool.driver.pool, layer, { role: 'image', points: [pointRecord(point, size)] })
    await pool.driver.importUpload(layer, 'sent', format, record)
    await disk.losePower()
    expect(await pool.read(layer)).toEqual({ 0: 1, 63: 2 })
    expect(await isWritable(layer)).toBe(false)
    expect(await pool.driver.readRecord(layer)).toMatchObject({ role: 'image', sizeBytes: size })
  })

  test('a blob is there, and a discarded upload is not', async () => {
    const image = newId<ImageId>()
    await pool.upload('kernel', 'raw', 100_000, { 0: 4 })
    await pool.driver.adoptBlob(image, 'kernel')
    await pool.driver.discardUpload('kernel')
    await disk.losePower()
    expect((await stat(pool.driver.files.blob(image))).size).toBe(100_000)
    await expect(stat(pool.driver.files.upload('kernel'))).rejects.toThrow(/ENOENT/)
    await pool.driver.removeBlob(image)
    await disk.losePower()
    await expect(stat(pool.driver.files.blob(image))).rejects.toThrow(/ENOENT/)
  })

  test('a dump of the database is there', async () => {
    await pool.upload('dump-1', 'raw', 50_000, { 0: 8 })
    await pool.driver.keepDatabaseDump('dump-1', 3)
    await disk.losePower()
    expect((await stat(join(pool.driver.files.database, 'dump-1'))).size).toBe(50_000)
  })

  test.each(['pull', 'push'] as const)('a merge (%s) has happened, byte for byte', async (direction) => {
    const base = await makeLayer(pool, null, size)
    for (const block of [0, 1, 2]) await pool.write(base, block, 1)
    const lower = await makeLayer(pool, await markPoint(pool, base), size)
    for (const block of [1, 2, 3, 40]) await pool.write(lower, block, 2)
    const upper = await makeLayer(pool, await markPoint(pool, lower), size)
    for (const block of [2, 50]) await pool.write(upper, block, 3)
    const from = await markPoint(pool, upper)
    const child = await makeLayer(pool, from, size)
    const before = await pool.read(child)
    const merge: Merge = { lower, upper, base, direction }
    await pool.driver.merge(merge)
    await disk.losePower()
    expect(await pool.read(child)).toEqual(before)
    await pool.driver.remove(direction === 'pull' ? lower : upper)
    await disk.losePower()
    expect(await pool.read(child)).toEqual(before)
    const left = direction === 'pull' ? upper : lower
    expect((await layers()).sort()).toEqual([base, left, child].sort())
    expect(await unfinished()).toEqual([])
    expect((await pool.driver.readRecord(child))?.parent).toEqual({ ...from, layer: left })
    expect((await pool.driver.readRecord(left))?.parent?.layer).toBe(base)
    await pool.driver.merge(merge)
    expect(await pool.read(child)).toEqual(before)
  })
})
