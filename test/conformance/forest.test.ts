/** The forest's verdicts carried out on storage in both shapes: whatever users do in whatever order, nothing wanted changes. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { deleteAll, ForestPlayer, kindsOfMove, type Move, play } from '../support/forest-player.ts'
import { memoryPool } from '../support/memory-pool.ts'

const move: fc.Arbitrary<Move> = fc.record({
  what: fc.constantFrom(...kindsOfMove),
  a: fc.nat(1000),
  b: fc.nat(1000),
  byte: fc.nat(255),
})

/** Long enough for trees of some depth: short stories are tried too, when a failure is made smaller. */
const story = fc.array(move, { maxLength: 80, size: 'max' })

describe.each(['one', 'many'] as const)('a forest with %s point(s) a layer', (shape) => {
  test('every volume and wanted point keeps its content, and nothing is left when all are deleted', async () => {
    await fc.assert(
      fc.asyncProperty(story, fc.nat(1000), async (moves, order) => {
        const player = new ForestPlayer(memoryPool(shape))
        await player.create(6)
        for (const next of moves) {
          await play(player, next)
          expect(await player.faults()).toEqual([])
        }
        await deleteAll(player, order)
        expect(player.forest.layers).toEqual([])
        expect((await player.pool.driver.survey()).layers).toEqual([])
      }),
      { numRuns: 200 },
    )
  })

  test('once tidy, every layer is a head, holds a wanted point, or has several children', async () => {
    await fc.assert(
      fc.asyncProperty(story, async (moves) => {
        const player = new ForestPlayer(memoryPool(shape))
        await player.create(6)
        for (const next of moves) await play(player, next)
        await player.tidy()
        const { layers, points, heads, wanted } = player.forest
        const needless = layers.filter(({ id }) => {
          const own = points.filter(({ layer }) => layer === id)
          const children = layers.filter(({ parent }) => own.some((point) => point.id === parent))
          return !heads.has(id) && !own.some((point) => wanted.has(point.id)) && children.length < 2
        })
        expect(needless).toEqual([])
      }),
      { numRuns: 200 },
    )
  })
})
