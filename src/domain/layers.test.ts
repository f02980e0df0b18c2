import { describe, expect, test } from 'vitest'
import { asId, type LayerId, type PointId } from './ids.ts'
import { removableLayers, removablePoints } from './layer-garbage.ts'
import { type MergeFacts, planMerges } from './layer-merges.ts'
import { chainOf, type Forest, lineVerdict, retainedOn } from './layers.ts'

const layer = (name: string) => asId<LayerId>(name)
const point = (name: string) => asId<PointId>(`${name}.`)

/** `b<a` is a layer b made from the point of a. Heads, wanted points, and points that are just there, by layer name. */
function forest(lines: string, { heads = '', wanted = '', marked = '', sizes = {} as Record<string, number> } = {}): Forest {
  const pairs = lines.split(' ').map((pair) => pair.split('<') as [string, string?])
  const names = (text: string) => text.split('').filter(Boolean)
  return {
    layers: pairs.map(([id, parent]) => ({
      id: layer(id),
      parent: parent === undefined ? null : point(parent),
      sizeBytes: sizes[id] ?? 100,
    })),
    points: pairs
      .filter(([id]) => pairs.some(([, parent]) => parent === id) || names(wanted + marked).includes(id))
      .map(([id]) => ({ id: point(id), layer: layer(id) })),
    heads: new Set(names(heads).map(layer)),
    wanted: new Set(names(wanted).map(point)),
  }
}
const facts = (changes: Partial<MergeFacts> = {}): MergeFacts => ({
  allocated: { [layer('a')]: 50, [layer('b')]: 50, [layer('c')]: 50, [layer('d')]: 50 },
  running: new Set(),
  kept: new Set(),
  directions: ['pull', 'push'],
  ...changes,
})
const planOf = (of: Forest, changes?: Partial<MergeFacts>) =>
  planMerges(of, facts(changes)).map(({ merge: { lower, upper, direction } }) => `${lower}${upper} ${direction}`)

describe('the line below a layer', () => {
  test('is told bottom first', () => {
    expect(chainOf(forest('a b<a c<b'), layer('c'))).toEqual(['a', 'b', 'c'])
  })
  test('counts the layers that are kept for their points, not those that a merge will take', () => {
    expect(retainedOn(forest('a b<a c<b d<c', { heads: 'd', wanted: 'ac' }), layer('d'))).toBe(2)
  })
  test.each([
    [32, 'fine'],
    [33, 'long'],
    [64, 'long'],
    [65, 'tooLong'],
  ] as const)('with %d of them is %s', (retained, verdict) => {
    expect(lineVerdict(retained)).toBe(verdict)
  })
})

describe('what may be removed', () => {
  test('children go before their parents, and a head or a wanted point keeps all below it', () => {
    expect(removableLayers(forest('a b<a c<b d<a', { wanted: 'd' }))).toEqual(['c', 'b'])
    expect(removableLayers(forest('a b<a c<b', { heads: 'c' }))).toEqual([])
    expect(removableLayers(forest('a b<a c<a'))).toEqual(['b', 'c', 'a'])
  })
  test('a point inside a layer that stays may go when nothing was made from it', () => {
    expect(removablePoints(forest('a b<a', { heads: 'ab', marked: 'b' }))).toEqual(['b.'])
  })
})

describe('what is merged', () => {
  test('layers whose point nobody wants, with their only child', () => {
    expect(planOf(forest('a b<a c<b', { heads: 'c', wanted: 'a' }))).toEqual(['bc pull'])
    expect(planOf(forest('a b<a c<b', { heads: 'c', wanted: 'ab' }))).toEqual([])
  })
  test('never a layer with two children, and never a head', () => {
    expect(planOf(forest('a b<a c<a', { heads: 'bc' }))).toEqual([])
    expect(planOf(forest('a b<a', { heads: 'ab' }))).toEqual([])
  })
  test('in the direction that copies less', () => {
    const young = { allocated: { [layer('a')]: 3000, [layer('b')]: 1 } }
    expect(planOf(forest('a b<a', { heads: 'b' }), young)).toEqual(['ab push'])
    expect(planOf(forest('a b<a', { heads: 'b' }), { ...young, directions: ['pull'] })).toEqual(['ab pull'])
  })
  test('upwards when the upper layer has a point: somebody might just be building upon it', () => {
    const young = { allocated: { [layer('a')]: 3000, [layer('b')]: 1 } }
    expect(planOf(forest('a b<a', { wanted: 'b' }), young)).toEqual(['ab pull'])
  })
  test('upwards when the upper layer is smaller: it hides what lies beyond its end', () => {
    const young = { allocated: { [layer('a')]: 3000, [layer('b')]: 1 } }
    expect(planOf(forest('a b<a', { heads: 'b', sizes: { b: 50 } }), young)).toEqual(['ab pull'])
  })
  test('one merge for each layer at a time', () => {
    expect(planOf(forest('a b<a c<b d<c', { heads: 'd' }))).toEqual(['ab pull', 'cd pull'])
  })
  test('nothing on a line that somebody reads or an operation has locked, nor below it', () => {
    expect(planOf(forest('a b<a c<b', { heads: 'c', wanted: '' }), { kept: new Set([layer('b')]) })).toEqual([])
  })
  test('through the one machine that has the files open, and not while two have', () => {
    const shared = forest('a b<a c<b d<b', { heads: 'cd' })
    const running = (...heads: string[]) => planMerges(shared, facts({ running: new Set(heads.map(layer)) }))
    expect(running().map(({ through }) => through)).toEqual([null])
    expect(running('c').map(({ through }) => through)).toEqual(['c'])
    expect(running('c', 'd')).toEqual([])
  })
})
