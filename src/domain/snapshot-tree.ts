/**
 * The snapshots of an instance as a tree, with "you are here".
 *
 * A *moment* is what its owner sees as one snapshot: an instance snapshot, the safety snapshots of one rollback, or a single
 * volume snapshot; it marks one point on each of its disks. Who descends from whom is not recorded anywhere: it is how the
 * layers lie. On one disk, the parent of a moment is the nearest moment below it; a rollback makes the next one a sibling.
 *
 * Disks may disagree, when only some of them were rolled back or snapshotted. So every moment keeps its parent on each disk;
 * the latest of these stands for all in the drawing. "Here" is said for each disk: the moment its head descends from.
 */
import type { LayerId, PointId, VolumeId } from './ids.ts'
import type { Layer, Point } from './layers.ts'

/** Key of a moment: the id of an image, an operation or a volume snapshot. */
export type MomentKey = string

export type Moment = {
  readonly key: MomentKey
  readonly takenAt: Date
  /** Point null: still being taken; it will lie where the disk stands now. */
  readonly marks: readonly { readonly volume: VolumeId; readonly point: PointId | null }[]
}

/** Points of one layer are in the order of their generation. Layers and points without a moment may be left in or out. */
export type Lineage = {
  readonly layers: readonly Pick<Layer, 'id' | 'parent'>[]
  readonly points: readonly (Point & { readonly generation: number })[]
}

export type Placed<M extends Moment = Moment> = {
  readonly moment: M
  /** Null: a root of the drawing. */
  readonly parent: MomentKey | null
  /** Parent on each disk it marks. */
  readonly parents: ReadonlyMap<VolumeId, MomentKey | null>
}

export type SnapshotTree<M extends Moment = Moment> = {
  /** In the order they were taken. */
  readonly moments: readonly Placed<M>[]
  /** For each disk, the moment its head descends from; null: none that still exists. */
  readonly here: ReadonlyMap<VolumeId, MomentKey | null>
}

export function snapshotTree<M extends Moment>(
  heads: ReadonlyMap<VolumeId, LayerId>,
  lineage: Lineage,
  moments: readonly M[],
): SnapshotTree<M> {
  const ordered = moments.toSorted(byTime)
  const { below, end } = walker(lineage)
  const named = namesOf(ordered)
  const standing = (volume: VolumeId) => {
    const head = heads.get(volume)
    return head === undefined ? null : end(head)
  }

  /** The nearest moment at or below the point. Of several that name one point: the latest that `reader` can descend from. */
  const nearest = (volume: VolumeId, from: PointId | null, reader: Moment | null): MomentKey | null => {
    for (let point = from; point !== null; point = below(point)) {
      const names = named(volume, point)
      const earlier = names.findLast((name) => reader === null || byTime(name, reader) < 0)
      const found = earlier ?? (point === from ? undefined : names[0])
      if (found !== undefined) return found.key
    }
    return null
  }
  const placed = ordered.map((moment) => ({
    moment,
    parents: new Map(moment.marks.map(({ volume, point }) => [volume, nearest(volume, point ?? standing(volume), moment)])),
  }))
  return {
    moments: drawn(placed),
    here: new Map([...heads.keys()].map((volume) => [volume, nearest(volume, standing(volume), null)])),
  }
}

const byTime = (a: Moment, b: Moment): number =>
  a.takenAt.getTime() - b.takenAt.getTime() || (a.key < b.key ? -1 : a.key > b.key ? 1 : 0)

/** Which point lies below a point, and which point a layer's end stands on. */
function walker({ layers, points }: Lineage) {
  const parentOf = new Map(layers.map(({ id, parent }) => [id, parent]))
  const inLayer = Map.groupBy(
    points.toSorted((a, b) => a.generation - b.generation),
    ({ layer }) => layer,
  )
  const belowOf = new Map<PointId, PointId | null>()
  for (const [layer, members] of inLayer) {
    members.forEach(({ id }, at) => {
      belowOf.set(id, members[at - 1]?.id ?? parentOf.get(layer) ?? null)
    })
  }
  return {
    below: (point: PointId) => belowOf.get(point) ?? null,
    end: (layer: LayerId) => inLayer.get(layer)?.at(-1)?.id ?? parentOf.get(layer) ?? null,
  }
}

/** Moments of a volume at a point, earliest first. */
function namesOf(ordered: readonly Moment[]) {
  const marks = ordered.flatMap((moment) => moment.marks.map(({ volume, point }) => ({ moment, key: `${volume} ${point}` })))
  const names = Map.groupBy(marks, ({ key }) => key)
  return (volume: VolumeId, point: PointId) => (names.get(`${volume} ${point}`) ?? []).map(({ moment }) => moment)
}

/** Chooses one parent for the drawing: the latest of the disks' parents. One that would close a circle (clocks that lied) is left out. */
function drawn<M extends Moment>(placed: readonly Omit<Placed<M>, 'parent'>[]): Placed<M>[] {
  const rank = new Map(placed.map(({ moment }, at) => [moment.key, at]))
  const chosen = new Map<MomentKey, MomentKey | null>()
  const leadsTo = (from: MomentKey, key: MomentKey) => {
    for (let at: MomentKey | null = from; at !== null; at = chosen.get(at) ?? null) if (at === key) return true
    return false
  }
  for (const { moment, parents } of placed) {
    const candidates = [...parents.values()]
      .filter((key) => key !== null)
      .toSorted((a, b) => (rank.get(b) ?? 0) - (rank.get(a) ?? 0))
    chosen.set(moment.key, candidates.find((key) => !leadsTo(key, moment.key)) ?? null)
  }
  return placed.map((one) => ({ ...one, parent: chosen.get(one.moment.key) ?? null }))
}
