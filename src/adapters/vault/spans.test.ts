import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Extent } from '../../ports/blocks.ts'
import { blockBytes, fanOut } from './format/shape.ts'
import { spansOf, tasksOf } from './spans.ts'

const sector = 512
const inBlock = blockBytes / sector

async function* streamed<Item>(items: readonly Item[]): AsyncGenerator<Item> {
  yield* items
}

async function all<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const found: Item[] = []
  for await (const item of items) found.push(item)
  return found
}

/** Extents in order, with gaps, in sectors. */
const extents = fc
  .array(fc.tuple(fc.constantFrom(0, 1, 7, 127, 128, 129, 300), fc.constantFrom(1, 3, 127, 128, 129, 256, 700), fc.boolean()), {
    maxLength: 12,
  })
  .map((pieces) => {
    let at = 0
    const found: Extent[] = []
    for (const [gap, length, isData] of pieces) {
      found.push({ offset: (at + gap) * sector, length: length * sector, kind: isData ? 'data' : 'zero' })
      at += gap + length
    }
    return { found, sectors: at }
  })

test('a block is data if any of it is, or if only a part is told; zeros if all of it are; untold if nothing is', async () => {
  await fc.assert(
    fc.asyncProperty(extents, fc.constantFrom(0, 1, 64, 128), async ({ found, sectors }, tail) => {
      fc.pre(sectors + tail > 0)
      const size = sectors + tail
      const told = Array.from({ length: size }, () => '-')
      for (const { offset, length, kind } of found) told.fill(kind, offset / sector, (offset + length) / sector)
      const expected = Array.from({ length: Math.ceil(size / inBlock) }, (_, block) => {
        const own = new Set(told.slice(block * inBlock, (block + 1) * inBlock))
        if (own.size === 1) return [...own][0]
        return 'data'
      })
      const spans = await all(spansOf(streamed(found), size * sector))
      const blocks = expected.map(() => '-')
      let done = 0
      for (const { first, end, kind } of spans) {
        expect(first).toBeGreaterThanOrEqual(done)
        expect(end).toBeGreaterThan(first)
        blocks.fill(kind, first, end)
        done = end
      }
      expect(blocks).toEqual(expected)
    }),
  )
})

test('tasks are the same blocks, by leaf pages; stretches of zeros are the largest pages that fit', async () => {
  const leaf = fanOut * blockBytes
  const pieces: Extent[] = [
    { offset: 5 * blockBytes, length: blockBytes, kind: 'data' },
    { offset: 6 * blockBytes, length: 200 * leaf, kind: 'zero' },
    { offset: 300 * leaf - blockBytes, length: 2 * blockBytes, kind: 'data' },
  ]
  const tasks = await all(tasksOf(spansOf(streamed(pieces), 400 * leaf), 2))
  const last = fanOut - 1
  expect(tasks).toEqual([
    {
      kind: 'leaf',
      position: 0,
      spans: [
        { first: 5, end: 6, kind: 'data' },
        { first: 6, end: 128, kind: 'zero' },
      ],
    },
    ...Array.from({ length: last }, (_, at) => ({ kind: 'zero', level: 1, position: at + 1 })),
    ...Array.from({ length: 200 - fanOut }, (_, at) => ({ kind: 'zero', level: 1, position: at + 128 })),
    { kind: 'leaf', position: 200, spans: [{ first: 200 * fanOut, end: 200 * fanOut + 6, kind: 'zero' }] },
    { kind: 'leaf', position: 299, spans: [{ first: 300 * fanOut - 1, end: 300 * fanOut, kind: 'data' }] },
    { kind: 'leaf', position: 300, spans: [{ first: 300 * fanOut, end: 300 * fanOut + 1, kind: 'data' }] },
  ])
  const hole: Extent[] = [{ offset: 0, length: 400 * leaf, kind: 'zero' }]
  const whole = await all(tasksOf(spansOf(streamed(hole), 400 * leaf), 2))
  expect(whole.filter((task) => task.kind === 'zero' && task.level === 2)).toHaveLength(3)
})
