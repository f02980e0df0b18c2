import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Page, pageOf } from './paging.ts'

type Item = { readonly id: string; readonly n: number | null }

const keys = { n: ({ n }: { n: number | null }) => n, id: ({ id }: { id: string }) => id }

test('pages one after another give every item once, in order', () => {
  const items = fc.uniqueArray(fc.record({ id: fc.uuid(), n: fc.option(fc.integer({ min: 0, max: 5 })) }), {
    selector: ({ id }) => id,
  })
  fc.assert(
    fc.property(items, fc.integer({ min: 1, max: 4 }), fc.boolean(), (all, limit, descending) => {
      const sort = [{ key: 'n', descending }]
      const whole = pageOf(all, { limit: 1000, marker: null, sort }, keys).items
      const seen: Item[] = []
      for (let marker: string | null = null; ; ) {
        const { items: page, more }: Page<Item> = pageOf(all, { limit, marker, sort }, keys)
        seen.push(...page)
        expect(page.length).toBeLessThanOrEqual(limit)
        if (!more) break
        marker = page.at(-1)?.id ?? null
      }
      expect(seen).toEqual(whole)
      expect(seen).toHaveLength(all.length)
      const numbers = whole.map(({ n }) => n ?? -1)
      expect(numbers).toEqual(numbers.toSorted((a, b) => (descending ? b - a : a - b)))
    }),
  )
})

test('markers and keys that are none are refused', () => {
  expect(() => pageOf([], { limit: 1, marker: 'x', sort: [] }, keys)).toThrow('marker [x] not found')
  expect(() => pageOf([], { limit: 1, marker: null, sort: [{ key: 'constructor', descending: false }] }, keys)).toThrow(
    'not one of n, id',
  )
})
