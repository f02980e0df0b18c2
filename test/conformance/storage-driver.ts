/**
 * What every storage driver must do, whatever it keeps layers in. A driver differs from it only where `exceptions` says so,
 * with the reason.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type LayerId, newId, type OperationId, type PointId } from '../../src/domain/ids.ts'
import type { StorageDriver } from '../../src/ports/storage-driver.ts'
import { deleteAll, ForestPlayer, kindsOfMove, play } from '../support/forest-player.ts'
import {
  blockBytes,
  makeLayer,
  markPoint,
  pointRecord,
  recordOf,
  type TestPool,
  volumeFacts,
} from '../support/storage-fixtures.ts'

export type Exceptions = {
  /** A layer cannot be made from a point that is not marked yet. */
  readonly noUnmarkedParents?: string
  /** `push` is not offered. */
  readonly pullOnly?: string
  /** Frozen layers stay writable: points lie inside the layer. */
  readonly layersStayWritable?: string
}

const size = 8 * blockBytes
const held = /held open/

export function storageDriverConformance(name: string, open: () => Promise<TestPool>, exceptions: Exceptions = {}): void {
  describe(`storage driver ${name}`, () => {
    let pool: TestPool
    let driver: StorageDriver
    beforeEach(async () => {
      pool = await open()
      driver = pool.driver
    })
    afterEach(async () => {
      try {
        await pool.check()
      } finally {
        await pool.close()
      }
    })
    const point = async (content: Record<number, number>) => {
      const layer = await makeLayer(pool, null, size)
      for (const [block, byte] of Object.entries(content)) await pool.write(layer, Number(block), byte)
      return markPoint(pool, layer)
    }

    describe('layers', () => {
      test('a blank layer reads as zeros and keeps what is written', async () => {
        const layer = await makeLayer(pool, null, size)
        expect(await pool.read(layer)).toEqual({})
        await pool.write(layer, 3, 7)
        expect(await pool.read(layer)).toEqual({ 3: 7 })
      })

      test('making a layer again changes nothing of it', async () => {
        const layer = newId<LayerId>()
        const record = recordOf(driver.pool, layer, { sizeBytes: size })
        await driver.newLayer(layer, null, size, record)
        await pool.write(layer, 0, 9)
        await driver.newLayer(layer, null, size, record)
        expect(await pool.read(layer)).toEqual({ 0: 9 })
      })

      test('many children of one point are independent of each other and of the point', async () => {
        const from = await point({ 0: 1, 1: 2 })
        const children = await Promise.all([1, 2, 3].map(() => makeLayer(pool, from, size)))
        for (const [at, child] of children.entries()) await pool.write(child, 1, 10 + at)
        for (const [at, child] of children.entries()) expect(await pool.read(child)).toEqual({ 0: 1, 1: 10 + at })
        expect(await pool.read(from.layer, from.point)).toEqual({ 0: 1, 1: 2 })
      })

      const alsoUnmarked = exceptions.noUnmarkedParents === undefined
      if (alsoUnmarked)
        test('a layer may be made from a point before it is marked', async () => {
          const head = await makeLayer(pool, null, size)
          await pool.write(head, 2, 5)
          const close = await pool.openForWriting(head)
          const next = await makeLayer(pool, { layer: head, point: newId<PointId>() }, size)
          await close()
          await markPoint(pool, head)
          expect(await pool.read(next)).toEqual({ 2: 5 })
        })

      test('what a larger layer has beyond its point reads as zeros', async () => {
        const from = await point({ 7: 7 })
        const larger = await makeLayer(pool, from, 2 * size)
        expect(await pool.read(larger)).toEqual({ 7: 7 })
      })

      test('a smaller layer cuts its point, and growing it does not bring the rest back', async () => {
        const from = await point({ 0: 1, 6: 6 })
        const smaller = await makeLayer(pool, from, 4 * blockBytes)
        expect(await pool.read(smaller)).toEqual({ 0: 1 })
        await driver.grow(smaller, size)
        await driver.grow(smaller, size)
        expect(await pool.read(smaller)).toEqual({ 0: 1 })
        await pool.write(smaller, 7, 4)
        expect(await pool.read(smaller)).toEqual({ 0: 1, 7: 4 })
      })

      test('is empty until something is written, whatever its parent holds', async () => {
        const child = await makeLayer(pool, await point({ 1: 1 }), size)
        expect(await driver.isEmpty(child)).toBe(true)
        await pool.write(child, 2, 2)
        expect(await driver.isEmpty(child)).toBe(false)
      })

      test('removing is repeatable, and refused while somebody has the layer open', async () => {
        const layer = await makeLayer(pool, null, size)
        const close = await pool.openForWriting(layer)
        await expect(driver.remove(layer)).rejects.toThrow(held)
        await close()
        await driver.remove(layer)
        await driver.remove(layer)
        expect(await driver.readRecord(layer)).toBeNull()
        expect((await driver.survey()).layers).toEqual([])
      })

      test('growing is refused while somebody writes', async () => {
        const layer = await makeLayer(pool, null, size)
        const close = await pool.openForWriting(layer)
        await expect(driver.grow(layer, 2 * size)).rejects.toThrow(held)
        await close()
      })
    })

    describe('points', () => {
      test('a point keeps its content, and marking it again keeps it too', async () => {
        const layer = await makeLayer(pool, null, size)
        await pool.write(layer, 0, 1)
        const marked = newId<PointId>()
        const record = recordOf(driver.pool, layer, { sizeBytes: size, points: [pointRecord(marked, size)] })
        await driver.mark(layer, marked, record)
        await driver.mark(layer, marked, record)
        expect(await pool.read(layer, marked)).toEqual({ 0: 1 })
        expect((await driver.readRecord(layer))?.points.map((each) => each.point)).toEqual([marked])
      })

      test('a mark that is taken back leaves the layer writable', async () => {
        const layer = await makeLayer(pool, null, size)
        const { point: marked } = await markPoint(pool, layer)
        const record = recordOf(driver.pool, layer, { sizeBytes: size })
        await driver.unmark(layer, marked, record)
        await driver.unmark(layer, marked, record)
        const close = await pool.openForWriting(layer)
        await close()
        await pool.write(layer, 0, 3)
        expect(await pool.read(layer)).toEqual({ 0: 3 })
        expect((await driver.readRecord(layer))?.points).toEqual([])
      })

      const freezes = exceptions.layersStayWritable === undefined
      if (freezes)
        test('marking is refused while somebody writes the layer', async () => {
          const layer = await makeLayer(pool, null, size)
          const close = await pool.openForWriting(layer)
          await expect(markPoint(pool, layer)).rejects.toThrow(held)
          await close()
        })

      test('a layer whose lock we hold may be marked', async () => {
        const layer = await makeLayer(pool, null, size)
        const holder = newId<OperationId>()
        await driver.hold(holder, [layer])
        await markPoint(pool, layer)
        await driver.release(holder)
      })
    })

    describe('holding', () => {
      test('a held layer cannot be opened by a machine until it is released', async () => {
        const [layer, holder] = [await makeLayer(pool, null, size), newId<OperationId>()]
        await driver.hold(holder, [layer])
        await expect(pool.openForWriting(layer)).rejects.toThrow()
        await driver.hold(holder, [layer])
        expect(await driver.holders()).toEqual([holder])
        await driver.release(holder)
        expect(await driver.holders()).toEqual([])
        await driver.release(holder)
        const close = await pool.openForWriting(layer)
        await close()
      })

      test('is refused while a machine writes any of the layers, and then none is held', async () => {
        const [free, written] = [await makeLayer(pool, null, size), await makeLayer(pool, null, size)]
        const close = await pool.openForWriting(written)
        await expect(driver.hold(newId(), [free, written])).rejects.toThrow(held)
        const closeFree = await pool.openForWriting(free)
        await closeFree()
        await close()
      })

      test('is refused to a second holder', async () => {
        const [layer, holder] = [await makeLayer(pool, null, size), newId<OperationId>()]
        await driver.hold(holder, [layer])
        await expect(driver.hold(newId(), [layer])).rejects.toThrow(held)
        await driver.release(holder)
      })

      test('outlives the agent that took it: another one finds it, keeps it and releases it', async () => {
        const [layer, holder] = [await makeLayer(pool, null, size), newId<OperationId>()]
        await driver.hold(holder, [layer])
        const successor = await pool.another()
        await expect(pool.openForWriting(layer)).rejects.toThrow()
        await successor.hold(holder, [layer])
        await successor.release(holder)
        expect(await driver.hasWriter(layer)).toBe(false)
      })

      test('tells whether somebody writes', async () => {
        const layer = await makeLayer(pool, null, size)
        expect(await driver.hasWriter(layer)).toBe(false)
        const close = await pool.openForWriting(layer)
        expect(await driver.hasWriter(layer)).toBe(true)
        await close()
        expect(await driver.hasWriter(layer)).toBe(false)
      })
    })

    describe('the catalogue', () => {
      test('a record is read as it was last written', async () => {
        const layer = await makeLayer(pool, null, size)
        const record = recordOf(driver.pool, layer, { volume: volumeFacts(3), points: [pointRecord(newId(), size)] })
        await driver.describe(record)
        expect(await driver.readRecord(layer)).toEqual(record)
        expect(await driver.readRecord(newId())).toBeNull()
      })

      test('a survey finds every layer with its record, size and parent, and nothing else', async () => {
        const from = await point({ 0: 1 })
        const child = await makeLayer(pool, from, 2 * size)
        const { layers, unfinished, foreign } = await driver.survey()
        const told = layers.map(({ layer, record, sizeBytes, backing }) => [layer, record?.layer, sizeBytes, backing])
        const byId = (a: unknown[], b: unknown[]) => String(a[0]).localeCompare(String(b[0]))
        expect(told.sort(byId)).toEqual(
          [
            [from.layer, from.layer, size, null],
            [child, child, 2 * size, from.layer],
          ].sort(byId),
        )
        expect([unfinished, foreign]).toEqual([[], []])
      })

      test('tells how much each layer and the pool hold', async () => {
        const layer = await makeLayer(pool, null, size)
        const before = (await driver.allocated([layer]))[layer] ?? 0
        await pool.write(layer, 0, 1)
        expect((await driver.allocated([layer]))[layer]).toBeGreaterThanOrEqual(before + blockBytes)
        expect(await driver.allocated([])).toEqual({})
        const { totalBytes, freeBytes } = await driver.space()
        expect(totalBytes).toBeGreaterThan(freeBytes)
      })
    })

    describe('uploads', () => {
      test.each(['raw', 'qcow2'] as const)('a %s file becomes a frozen layer that others are made from', async (format) => {
        await pool.upload('sent', format, size, { 0: 1, 5: 6 })
        const [layer, from] = [newId<LayerId>(), newId<PointId>()]
        const record = recordOf(driver.pool, layer, { role: 'image', points: [pointRecord(from, 0)] })
        expect(await driver.importUpload(layer, 'sent', format, record)).toEqual({ sizeBytes: size })
        expect(await driver.importUpload(layer, 'sent', format, record)).toEqual({ sizeBytes: size })
        const child = await makeLayer(pool, { layer, point: from }, 2 * size)
        expect(await pool.read(child)).toEqual({ 0: 1, 5: 6 })
        expect(await driver.readRecord(layer)).toMatchObject({ role: 'image', sizeBytes: size })
        await driver.discardUpload('sent')
        await driver.discardUpload('sent')
      })

      test('a raw file of odd length is rounded up to whole sectors', async () => {
        await pool.upload('odd', 'raw', blockBytes + 1, { 0: 1 })
        const layer = newId<LayerId>()
        const { sizeBytes } = await driver.importUpload(layer, 'odd', 'raw', recordOf(driver.pool, layer, { role: 'image' }))
        expect(sizeBytes).toBe(blockBytes + 512)
      })

      test('a blob is kept until it is removed', async () => {
        await pool.upload('kernel', 'raw', 512, {})
        const image = newId<Parameters<StorageDriver['adoptBlob']>[0]>()
        await driver.adoptBlob(image, 'kernel')
        await driver.adoptBlob(image, 'kernel')
        await driver.discardUpload('kernel')
        await driver.removeBlob(image)
        await driver.removeBlob(image)
      })
    })

    describe('merging', () => {
      const directions = exceptions.pullOnly === undefined ? (['pull', 'push'] as const) : (['pull'] as const)
      /** base <- lower <- upper, with children of upper; sizes differ so that tails matter. */
      const line = async (sizes: { base: number; lower: number; upper: number }) => {
        const base = await makeLayer(pool, null, sizes.base * blockBytes)
        for (const block of [0, 1, 2, sizes.base - 1]) await pool.write(base, block, 1)
        const lower = await makeLayer(pool, await markPoint(pool, base), sizes.lower * blockBytes)
        for (const block of [1, 2, 3]) await pool.write(lower, block, 2)
        const upper = await makeLayer(pool, await markPoint(pool, lower), sizes.upper * blockBytes)
        for (const block of [2, 4]) await pool.write(upper, block, 3)
        await pool.write(upper, 3, 0)
        return { base, lower, upper }
      }

      describe.each(directions)('%s', (direction) => {
        const survivorOf = ({ lower, upper }: { lower: LayerId; upper: LayerId }) => (direction === 'pull' ? upper : lower)

        test.each([
          ['equal sizes', { base: 8, lower: 8, upper: 8 }],
          ['growing sizes', { base: 6, lower: 8, upper: 12 }],
          ['a base that is larger than what lies on it', { base: 12, lower: 6, upper: 12 }],
        ])('a head reads the same afterwards: %s', async (_case, sizes) => {
          const { base, lower, upper } = await line(sizes)
          const before = await pool.read(upper)
          await driver.merge({ lower, upper, base, direction })
          await driver.merge({ lower, upper, base, direction })
          const survivor = survivorOf({ lower, upper })
          expect(await pool.read(survivor)).toEqual(before)
          await driver.remove(survivor === upper ? lower : upper)
          await driver.merge({ lower, upper, base, direction })
          expect(await pool.read(survivor)).toEqual(before)
          expect((await driver.readRecord(survivor))?.role).toBe('head')
          expect((await driver.readRecord(survivor))?.parent?.layer).toBe(base)
          expect((await driver.survey()).layers.map(({ layer }) => layer).sort()).toEqual([base, survivor].sort())
          const close = await pool.openForWriting(survivor)
          await close()
        })

        test('down to the blank bottom', async () => {
          const { base, lower } = await line({ base: 8, lower: 8, upper: 8 })
          const before = await pool.read(lower)
          await driver.merge({ lower: base, upper: lower, base: null, direction })
          const survivor = survivorOf({ lower: base, upper: lower })
          expect(await pool.read(survivor)).toEqual(before)
          expect((await driver.readRecord(survivor))?.parent).toBeNull()
        })

        test('the upper layer keeps its point and its children', async () => {
          const { base, lower, upper } = await line({ base: 8, lower: 8, upper: 8 })
          const from = await markPoint(pool, upper)
          const children = [await makeLayer(pool, from, size), await makeLayer(pool, from, 2 * size)]
          for (const [at, child] of children.entries()) await pool.write(child, at, 40 + at)
          const before = await Promise.all(children.map((child) => pool.read(child)))
          const atPoint = await pool.read(upper, from.point)
          await driver.merge({ lower, upper, base, direction })
          const survivor = survivorOf({ lower, upper })
          expect(await Promise.all(children.map((child) => pool.read(child)))).toEqual(before)
          expect(await pool.read(survivor, from.point)).toEqual(atPoint)
          expect((await driver.readRecord(survivor))?.points.map((each) => each.point)).toEqual([from.point])
          for (const child of children) expect((await driver.readRecord(child))?.parent).toEqual({ ...from, layer: survivor })
        })

        test('is refused while somebody writes, and between layers that do not lie upon each other', async () => {
          const { base, lower, upper } = await line({ base: 8, lower: 8, upper: 8 })
          const before = await pool.read(upper)
          const close = await pool.openForWriting(upper)
          await expect(driver.merge({ lower, upper, base, direction })).rejects.toThrow(/in use/)
          await close()
          await expect(driver.merge({ lower: base, upper, base: null, direction })).rejects.toThrow()
          expect(await pool.read(upper)).toEqual(before)
        })
      })
    })

    describe('the forest', () => {
      test('points go in any order, and at last nothing is left', async () => {
        for (const order of [0, 5, 10]) {
          const player = new ForestPlayer(pool)
          await player.create(6)
          const [volume] = player.volumes
          for (const byte of [1, 2, 3]) {
            await player.write(volume!, byte, byte)
            await player.snapshot(volume!)
          }
          await player.rollBack(volume!, player.snapshots[0]!)
          await player.createFrom(player.snapshots[1]!, 2)
          expect(await player.faults()).toEqual([])
          await deleteAll(player, order)
          expect((await driver.survey()).layers).toEqual([])
        }
      })

      test('a long story of users keeps all that is wanted', async () => {
        const player = new ForestPlayer(pool)
        await player.create(6)
        for (let turn = 1, number = 12345; turn <= 60; turn++) {
          number = (number * 1103515245 + 12345) % 2 ** 31
          const what = kindsOfMove[(number >> 8) % kindsOfMove.length]!
          await play(player, { what, a: (number >> 4) % 97, b: (number >> 12) % 89, byte: (number >> 16) % 256 })
          if (turn % 6 === 0) expect(await player.faults()).toEqual([])
        }
        await player.tidy()
        expect(await player.faults()).toEqual([])
        await deleteAll(player, 4)
        expect((await driver.survey()).layers).toEqual([])
      })
    })
  })
}
