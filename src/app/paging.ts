/** One page of a list that is sorted by any of some keys; the marker is the id of the last item of the page before. */
import { refuse } from '../domain/refusals.ts'

export type SortKey = { readonly key: string; readonly descending: boolean }
export type PageRequest = { readonly limit: number; readonly marker: string | null; readonly sort: readonly SortKey[] }
export type Page<Item> = { readonly items: readonly Item[]; readonly more: boolean }

type Comparable = string | number | boolean | Date | null | undefined
export type Keys<Item> = Readonly<Record<string, (item: Item) => Comparable>>

const text = new Intl.Collator('en', { numeric: false })

export function pageOf<Item extends { readonly id: string }>(
  all: readonly Item[],
  request: PageRequest,
  keys: Keys<Item>,
): Page<Item> {
  const order = request.sort.map(({ key, descending }) => {
    const value = Object.hasOwn(keys, key) ? keys[key] : undefined
    if (!value) throw refuse.malformed({ why: `Sort key '${key.slice(0, 50)}' is not one of ${Object.keys(keys).join(', ')}.` })
    return (a: Item, b: Item) => compare(value(a), value(b)) * (descending ? -1 : 1)
  })
  const sorted = [...all].sort((a, b) => {
    for (const by of order) {
      const difference = by(a, b)
      if (difference !== 0) return difference
    }
    return a.id < b.id ? 1 : -1
  })
  const start = request.marker === null ? 0 : sorted.findIndex(({ id }) => id === request.marker) + 1
  if (request.marker !== null && start === 0)
    throw refuse.malformed({ why: `marker [${request.marker.slice(0, 64)}] not found` })
  const items = sorted.slice(start, start + request.limit)
  return { items, more: start + items.length < sorted.length }
}

function compare(a: Comparable, b: Comparable): number {
  if (a === b) return 0
  if (a === null || a === undefined) return -1
  if (b === null || b === undefined) return 1
  if (typeof a === 'string' && typeof b === 'string') return text.compare(a, b)
  return Number(a) - Number(b)
}
