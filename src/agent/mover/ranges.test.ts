import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Range, union } from './ranges.ts'

async function* stream(ranges: readonly Range[]): AsyncGenerator<Range> {
  yield* ranges
}

/** Ranges from gaps and lengths, so that they lie in order. */
const ranges = fc.array(fc.tuple(fc.nat(5), fc.integer({ min: 1, max: 5 })), { maxLength: 12 }).map((parts) => {
  let at = 0
  return parts.map(([gap, length]): Range => {
    const from = at + gap
    at = from + length
    return { from, to: at }
  })
})

const cells = (all: readonly Range[]): number[] =>
  all.flatMap(({ from, to }) => Array.from({ length: to - from }, (_, at) => from + at))

test('a union has what any stream has, once, in order, and no two ranges that touch', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(ranges, { maxLength: 3 }), async (streams) => {
      const result: Range[] = []
      for await (const range of union(...streams.map(stream))) result.push(range)
      const expected = [...new Set(streams.flatMap(cells))].sort((a, b) => a - b)
      expect(cells(result)).toEqual(expected)
      for (const [at, range] of result.entries()) expect(range.from).toBeGreaterThan(result[at - 1]?.to ?? -1)
    }),
  )
})

test('whoever stops early closes the streams', async () => {
  let closed = 0
  async function* endless(): AsyncGenerator<Range> {
    try {
      for (let at = 0; ; at += 2) yield { from: at, to: at + 1 }
    } finally {
      closed++
    }
  }
  for await (const { from } of union(endless(), endless())) if (from > 10) break
  expect(closed).toBe(2)
})
