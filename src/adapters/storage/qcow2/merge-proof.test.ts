import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { coversAll, type Extent } from './merge-proof.ts'

type Cluster = 'none' | 'data' | 'zero'

/** A map as `qemu-img map` prints it: neighbours that are alike are one line. */
function mapOf(clusters: readonly Cluster[]): Extent[] {
  const map: Extent[] = []
  for (const [start, kind] of clusters.entries()) {
    const line = { depth: kind === 'none' ? 1 : 0, present: kind !== 'none', zero: kind === 'zero' }
    const last = map.at(-1)
    if (last && last.depth === line.depth && last.zero === line.zero) map[map.length - 1] = { ...last, length: last.length + 1 }
    else map.push({ start, length: 1, ...line })
  }
  return map
}

describe('the proof of a merge', () => {
  test('holds exactly when the target holds every cluster that the source holds', () => {
    const clusters = fc.array(fc.constantFrom<Cluster>('none', 'data', 'zero'), { minLength: 1, maxLength: 24 })
    fc.assert(
      fc.property(clusters, clusters, (source, target) => {
        const padded = source.map((_, at) => target[at] ?? 'none')
        const covered = source.every((kind, at) => kind === 'none' || padded[at] !== 'none')
        expect(coversAll(mapOf(source), mapOf(padded))).toBe(covered)
      }),
      { numRuns: 2000 },
    )
  })

  test('takes zeros that the target does not hold, if it reads as zeros there', () => {
    const source: Extent[] = [{ start: 0, length: 8, depth: 0, present: true, zero: true }]
    expect(coversAll(source, [{ start: 0, length: 8, depth: 0, present: false, zero: true }])).toBe(true)
    expect(coversAll(source, [{ start: 0, length: 8, depth: 1, present: true, zero: false }])).toBe(false)
  })

  test('fails where the target ends too early', () => {
    expect(coversAll(mapOf(['data', 'data']), mapOf(['data']))).toBe(false)
  })
})
