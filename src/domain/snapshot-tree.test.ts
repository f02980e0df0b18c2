import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { asId, type LayerId, type PointId, type VolumeId } from './ids.ts'
import { type Lineage, type Moment, type MomentKey, snapshotTree } from './snapshot-tree.ts'

const disks = ['vda', 'vdb', 'vdc'].map((name) => asId<VolumeId>(name))

/** A machine whose disks keep layers and points as a driver of either shape would, beside the parents as a book-keeper notes them. */
class Machine {
  readonly layers: { id: LayerId; parent: PointId | null }[] = []
  readonly points: { id: PointId; layer: LayerId; generation: number }[] = []
  readonly heads = new Map<VolumeId, LayerId>()
  readonly moments: Moment[] = []
  readonly parents = new Map<MomentKey, Map<VolumeId, MomentKey | null>>()
  readonly here = new Map<VolumeId, MomentKey | null>(disks.map((disk) => [disk, null]))
  private names = 0
  private readonly shape: 'one' | 'many'

  constructor(shape: 'one' | 'many') {
    this.shape = shape
    for (const disk of disks) this.newHead(disk, null)
  }

  snapshot(chosen: readonly VolumeId[]) {
    const key = this.name('s')
    const marks = chosen.map((volume) => ({ volume, point: this.mark(volume) }))
    this.moments.push({ key, takenAt: new Date(++this.names), marks })
    this.parents.set(key, new Map(chosen.map((disk) => [disk, this.here.get(disk) ?? null])))
    for (const disk of chosen) this.here.set(disk, key)
  }

  rollBack(pick: number, chosen: readonly VolumeId[]) {
    const target = this.moments.at(pick % (this.moments.length || 1))
    const marks = target?.marks.filter(({ volume }) => chosen.includes(volume)) ?? []
    if (target === undefined || marks.length === 0) return
    this.snapshot(marks.map(({ volume }) => volume))
    for (const { volume, point } of marks) {
      this.newHead(volume, point)
      this.here.set(volume, target.key)
    }
  }

  /** Its name goes; layers that nobody else stands on are merged into their only child, as the collector may. */
  remove(pick: number) {
    const [gone] = this.moments.splice(pick % (this.moments.length || 1), 1)
    if (gone === undefined) return
    const above = this.parents.get(gone.key) ?? new Map()
    this.parents.delete(gone.key)
    for (const disk of disks) {
      for (const parents of this.parents.values()) {
        if (parents.get(disk) === gone.key) parents.set(disk, above.get(disk) ?? null)
      }
      if (this.here.get(disk) === gone.key) this.here.set(disk, above.get(disk) ?? null)
    }
    if (this.shape === 'one') for (const { point } of gone.marks) if (point !== null) this.merge(point)
  }

  private merge(point: PointId) {
    const children = this.layers.filter(({ parent }) => parent === point)
    const lower = this.points.find(({ id }) => id === point)?.layer
    if (children.length !== 1 || lower === undefined || [...this.heads.values()].includes(lower)) return
    children[0]!.parent = this.layers.find(({ id }) => id === lower)?.parent ?? null
    this.layers.splice(
      this.layers.findIndex(({ id }) => id === lower),
      1,
    )
    this.points.splice(
      this.points.findIndex(({ id }) => id === point),
      1,
    )
  }

  private mark(disk: VolumeId): PointId {
    const layer = this.heads.get(disk)!
    const point = { id: asId<PointId>(this.name('p')), layer, generation: this.names }
    this.points.push(point)
    if (this.shape === 'one') this.newHead(disk, point.id)
    return point.id
  }

  private newHead(disk: VolumeId, parent: PointId | null) {
    const layer = { id: asId<LayerId>(this.name('l')), parent }
    this.layers.push(layer)
    this.heads.set(disk, layer.id)
  }

  private name(kind: string) {
    return `${kind}${++this.names}`
  }

  tree() {
    const shuffled: Lineage = { layers: this.layers.toReversed(), points: this.points.toReversed() }
    return snapshotTree(this.heads, shuffled, this.moments.toReversed())
  }
}

const chosenDisks = fc.subarray(disks, { minLength: 1 })
const action = fc.oneof(
  fc.record({ do: fc.constant('snapshot' as const), chosen: chosenDisks }),
  fc.record({ do: fc.constant('rollBack' as const), pick: fc.nat(50), chosen: chosenDisks }),
  fc.record({ do: fc.constant('remove' as const), pick: fc.nat(50) }),
)
const life = fc.record({
  shape: fc.constantFrom('one' as const, 'many' as const),
  actions: fc.array(action, { maxLength: 40 }),
})

function live({ shape, actions }: typeof life extends fc.Arbitrary<infer Life> ? Life : never): Machine {
  const machine = new Machine(shape)
  for (const step of actions) {
    if (step.do === 'snapshot') machine.snapshot(step.chosen)
    else if (step.do === 'rollBack') machine.rollBack(step.pick, step.chosen)
    else machine.remove(step.pick)
  }
  return machine
}

describe('whatever was snapshotted, rolled back and deleted', () => {
  test('each moment has on each disk the parent a book-keeper noted, and so has each head', () => {
    fc.assert(
      fc.property(life, (lived) => {
        const machine = live(lived)
        const tree = machine.tree()
        expect(new Map(tree.moments.map(({ moment, parents }) => [moment.key, parents]))).toEqual(machine.parents)
        expect(tree.here).toEqual(machine.here)
      }),
    )
  })

  test('the drawing shows every moment once, in order, each after its parent, and ends at a root', () => {
    fc.assert(
      fc.property(life, (lived) => {
        const machine = live(lived)
        const { moments } = machine.tree()
        expect(moments.map(({ moment }) => moment)).toEqual(machine.moments)
        moments.forEach(({ parent }, at) => {
          const before = moments.slice(0, at).map(({ moment }) => moment.key)
          expect(parent === null || before.includes(parent)).toBe(true)
        })
      }),
    )
  })
})

const [vda, vdb] = disks as [VolumeId, VolumeId]
const point = (name: string) => asId<PointId>(name)
const layer = (name: string) => asId<LayerId>(name)
const moment = (key: string, at: number, marks: Record<string, string>): Moment => ({
  key,
  takenAt: new Date(at),
  marks: Object.entries(marks).map(([volume, p]) => ({ volume: asId<VolumeId>(volume), point: point(p) })),
})

test('a moment that is still being taken hangs where its disk stands', () => {
  const lineage: Lineage = {
    layers: [
      { id: layer('l1'), parent: null },
      { id: layer('l2'), parent: point('p1') },
    ],
    points: [{ id: point('p1'), layer: layer('l1'), generation: 1 }],
  }
  const taking: Moment = { key: 'taking', takenAt: new Date(2), marks: [{ volume: vda, point: null }] }
  const tree = snapshotTree(new Map([[vda, layer('l2')]]), lineage, [moment('first', 1, { vda: 'p1' }), taking])
  expect(tree.moments.map(({ parent }) => parent)).toEqual([null, 'first'])
  expect(tree.here.get(vda)).toBe('first')
})

test('two names of one point follow one another, and a branch hangs on the name that was there when it was taken', () => {
  const lineage: Lineage = {
    layers: [
      { id: layer('l1'), parent: null },
      { id: layer('l2'), parent: point('p1') },
      { id: layer('l3'), parent: point('p2') },
    ],
    points: [
      { id: point('p1'), layer: layer('l1'), generation: 1 },
      { id: point('p2'), layer: layer('l2'), generation: 2 },
    ],
  }
  const moments = [moment('first', 1, { vda: 'p1' }), moment('branch', 2, { vda: 'p2' }), moment('second', 3, { vda: 'p1' })]
  const tree = snapshotTree(new Map([[vda, layer('l3')]]), lineage, moments)
  expect(tree.moments.map(({ moment: { key }, parent }) => [key, parent])).toEqual([
    ['first', null],
    ['branch', 'first'],
    ['second', 'first'],
  ])
  expect(tree.here.get(vda)).toBe('branch')
})

test('clocks that lied about two disks do not close a circle', () => {
  const lineage: Lineage = {
    layers: [
      { id: layer('a'), parent: null },
      { id: layer('b'), parent: null },
    ],
    points: [
      { id: point('a1'), layer: layer('a'), generation: 1 },
      { id: point('a2'), layer: layer('a'), generation: 2 },
      { id: point('b1'), layer: layer('b'), generation: 1 },
      { id: point('b2'), layer: layer('b'), generation: 2 },
    ],
  }
  const moments = [moment('x', 1, { vda: 'a1', vdb: 'b2' }), moment('y', 2, { vda: 'a2', vdb: 'b1' })]
  const tree = snapshotTree(
    new Map([
      [vda, layer('a')],
      [vdb, layer('b')],
    ]),
    lineage,
    moments,
  )
  expect(tree.moments.map(({ parent }) => parent)).toEqual(['y', null])
})
