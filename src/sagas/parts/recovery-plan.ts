/**
 * Reads a pool's own records and says what the database should hold. Pure.
 *
 * A volume's head is the layer of the highest generation that calls itself its head, or the successor made over it for a live
 * pivot, which is right either way. A flip that was cut off between marking the old heads and turning the pointers has left a
 * volume without a head: it is carried through if all of its disks were marked, and taken back otherwise, so that an operation
 * over several disks is never half done. One new head of it that calls itself so proves that all pointers were turned.
 */
import type { Bytes, LayerId, OperationId, PointId, PoolId, VolumeId } from '../../domain/ids.ts'
import type { FoundLayer, LayerRecord, PointRecord, PointRef, Survey, VolumeFacts } from '../../ports/storage-driver.ts'

export type RecoveredLayer = {
  readonly id: LayerId
  readonly parent: PointId | null
  readonly sizeBytes: Bytes
  readonly madeBy: OperationId
}
export type RecoveredPoint = {
  readonly id: PointId
  readonly layer: LayerId
  readonly sizeBytes: Bytes
  readonly generation: number
}
export type RecoveredVolume = VolumeFacts & {
  readonly head: LayerId
  /** Point that was marked for a flip that is taken back. */
  readonly unmark: PointId | null
}
export type RecoveredSnapshot = PointRecord['snapshots'][number] & {
  readonly volume: VolumeId
  readonly project: string
  readonly point: PointId
  readonly sizeBytes: Bytes
  readonly instance: VolumeFacts['instance']
}

export type RecoveryPlan = {
  readonly pool: PoolId
  readonly layers: readonly RecoveredLayer[]
  readonly points: readonly RecoveredPoint[]
  readonly volumes: readonly RecoveredVolume[]
  readonly snapshots: readonly RecoveredSnapshot[]
  readonly problems: readonly string[]
}

type Recorded = FoundLayer & { readonly record: LayerRecord }

export function planRecovery(pool: PoolId, survey: Survey): RecoveryPlan {
  const recorded = survey.layers.filter((layer): layer is Recorded => layer.record !== null)
  const silent = survey.layers.filter(({ record }) => record === null)
  const volumes = recoverVolumes(recorded)
  const unmarked = new Set(volumes.flatMap(({ unmark }) => unmark ?? []))
  const points = recoverPoints(recorded).filter(({ id }) => !unmarked.has(id))
  const known = new Set(points.map(({ id }) => id))
  return {
    pool,
    layers: recorded.map(({ layer, record }) => ({
      id: layer,
      parent: record.parent && known.has(record.parent.point) ? record.parent.point : null,
      sizeBytes: record.sizeBytes,
      madeBy: record.madeBy,
    })),
    points,
    volumes,
    snapshots: recoverSnapshots(recorded).filter(({ point }) => known.has(point)),
    problems: [
      ...silent.map(({ layer }) => `Layer ${layer} has no readable record; it is left alone.`),
      ...survey.foreign.map((name) => `'${name}' is none of ours; it is left alone.`),
    ],
  }
}

function recoverVolumes(layers: readonly Recorded[]): RecoveredVolume[] {
  const ids = [...new Set(layers.flatMap(({ record }) => record.volume?.id ?? []))]
  const found = ids.map((id) => ({ id, own: layers.filter(({ record }) => record.volume?.id === id) }))
  const headless = new Set(found.filter(({ own }) => !newestHead(own)).map(({ id }) => id))
  const flipped = new Set(layers.filter(({ record }) => record.role === 'head').map(({ record }) => record.madeBy))
  return found.flatMap(({ id, own }) => {
    const prepared = newest(own.filter(({ record }) => record.role === 'prepared'))
    if (prepared && flipped.has(prepared.record.madeBy)) return withHead(prepared, null)
    const head = newestHead(own)
    if (head) return withHead(successorOf(own, head) ?? head, null)
    if (prepared && allHeadless(layers, prepared.record.madeBy, headless)) return withHead(prepared, null)
    const marked = lastMarked(own)
    const mark = marked?.record.points.at(-1)
    return marked && mark && prepared ? withHead(marked, mark.point) : lost(id)
  })
}

const newest = (layers: readonly Recorded[]): Recorded | undefined =>
  layers.toSorted((a, b) => (b.record.volume?.generation ?? 0) - (a.record.volume?.generation ?? 0))[0]

/** Records of frozen layers carry the generation of when they were written; when they were frozen, their last point tells. */
const lastMarked = (own: readonly Recorded[]): Recorded | undefined =>
  own
    .filter(({ record }) => record.role === 'frozen' && record.points.length > 0)
    .toSorted((a, b) => (b.record.points.at(-1)?.generation ?? 0) - (a.record.points.at(-1)?.generation ?? 0))[0]

const newestHead = (own: readonly Recorded[]) =>
  newest(own.filter(({ record }) => record.role === 'head' || record.role === 'successor'))

const successorOf = (own: readonly Recorded[], head: Recorded): Recorded | undefined =>
  own.find(({ record }) => record.role === 'successor' && record.parent?.layer === head.layer)

/** Whether every volume that this operation prepared a layer for has its old head marked. */
const allHeadless = (layers: readonly Recorded[], operation: OperationId, headless: ReadonlySet<VolumeId>): boolean =>
  layers
    .filter(({ record }) => record.role === 'prepared' && record.madeBy === operation)
    .every(({ record }) => record.volume && headless.has(record.volume.id))

const withHead = ({ layer, record }: Recorded, unmark: PointId | null): RecoveredVolume[] =>
  record.volume ? [{ ...record.volume, head: layer, unmark }] : []

/** Only frozen layers are left of it: it was deleted, and its snapshots or clones live on. */
const lost = (_volume: VolumeId): RecoveredVolume[] => []

function recoverPoints(layers: readonly Recorded[]): RecoveredPoint[] {
  const points = new Map<PointId, RecoveredPoint>()
  const known = new Set(layers.map(({ layer }) => layer))
  const fromChild = (parent: PointRef, sizeBytes: Bytes) => ({
    id: parent.point,
    layer: parent.layer,
    sizeBytes,
    generation: 0,
  })
  for (const { record } of layers)
    if (record.parent && known.has(record.parent.layer))
      points.set(record.parent.point, fromChild(record.parent, record.sizeBytes))
  for (const { layer, record } of layers) {
    for (const { point, sizeBytes, generation } of record.points) points.set(point, { id: point, layer, sizeBytes, generation })
  }
  return [...points.values()]
}

const recoverSnapshots = (layers: readonly Recorded[]): RecoveredSnapshot[] =>
  layers.flatMap(({ record }) =>
    record.points.flatMap(({ point, sizeBytes, snapshots }) =>
      record.volume
        ? snapshots.map((snapshot) => ({
            ...snapshot,
            volume: record.volume!.id,
            project: record.volume!.project,
            point,
            sizeBytes,
            instance: record.volume!.instance,
          }))
        : [],
    ),
  )
