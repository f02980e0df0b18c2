/** The record that a layer carries on its storage, made of the database's rows. */
import type { LayerId, OperationId, PointId } from '../../domain/ids.ts'
import type { LayerRecord, PointRecord, PointRef, VolumeFacts } from '../../ports/storage-driver.ts'
import type { Db, Tx } from '../../ports/tables.ts'
import type { World } from '../../ports/world.ts'
import { each } from './define.ts'

type Reader = Db | Tx

export async function volumeFacts(db: Reader, by: { head: LayerId } | { id: string }): Promise<VolumeFacts | null> {
  const query = db
    .selectFrom('volumes as v')
    .leftJoin('attachments as a', 'a.volume_id', 'v.id')
    .leftJoin('instances as i', 'i.id', 'a.instance_id')
    .select([
      'v.id',
      'v.generation',
      'v.name',
      'v.project_id',
      'v.size_bytes',
      'v.bootable',
      'a.device',
      'i.id as instance',
      'i.name as instance_name',
    ])
  const row = await ('head' in by
    ? query.where('v.head_layer_id', '=', by.head)
    : query.where('v.id', '=', by.id as never)
  ).executeTakeFirst()
  if (!row) return null
  return {
    id: row.id,
    generation: row.generation,
    name: row.name,
    project: row.project_id,
    sizeBytes: row.size_bytes,
    bootable: row.bootable,
    instance: row.instance ? { id: row.instance, name: row.instance_name ?? '', device: row.device ?? '' } : null,
  }
}

async function pointsOf(db: Reader, layer: LayerId): Promise<PointRecord[]> {
  const points = await db.selectFrom('points').selectAll().where('layer_id', '=', layer).orderBy('marked_at').execute()
  if (points.length === 0) return []
  const names = await db
    .selectFrom('volume_snapshots')
    .selectAll()
    .where('deleted_at', 'is', null)
    .where(
      'point_id',
      'in',
      points.map(({ id }) => id),
    )
    .execute()
  return points.map((point) => ({
    point: point.id,
    generation: point.generation,
    sizeBytes: point.size_bytes,
    snapshots: names
      .filter((name) => name.point_id === point.id)
      .map(({ id, name, kind, created_at, metadata, image_id, consistency, consistency_why }) => ({
        id,
        name,
        kind,
        createdAt: created_at.toISOString(),
        metadata,
        image: image_id,
        consistency,
        consistencyWhy: consistency_why,
      })),
  }))
}

export async function parentOf(db: Reader, layer: LayerId): Promise<PointRef | null> {
  const row = await db
    .selectFrom('layers as l')
    .innerJoin('points as p', 'p.id', 'l.parent_point_id')
    .select(['p.id as point', 'p.layer_id as layer'])
    .where('l.id', '=', layer)
    .executeTakeFirst()
  return row ?? null
}

export const installationOf = async (db: Reader): Promise<string> =>
  (await db.selectFrom('installation').select('id').executeTakeFirstOrThrow()).id

/** What the layer should say about itself, as the rows stand. `volume`: its last writer, for layers that nobody writes now. */
export async function recordOf(db: Reader, layer: LayerId, last: { volume?: string } = {}): Promise<LayerRecord> {
  const [row, installation, parent, points, writer, image] = await Promise.all([
    db.selectFrom('layers').selectAll().where('id', '=', layer).executeTakeFirstOrThrow(),
    installationOf(db),
    parentOf(db, layer),
    pointsOf(db, layer),
    volumeFacts(db, { head: layer }),
    db.selectFrom('images').select('id').where('layer_id', '=', layer).executeTakeFirst(),
  ])
  const volume = writer ?? (last.volume === undefined ? null : await volumeFacts(db, { id: last.volume }))
  return {
    format: 1,
    installation,
    madeBy: row.made_by,
    layer,
    pool: row.pool_id,
    role: writer ? 'head' : image ? 'image' : 'frozen',
    parent,
    sizeBytes: row.size_bytes,
    volume,
    points,
  }
}

/** The record of a layer that is being made for a volume, before any row points at it. */
export async function newLayerRecord(
  db: Reader,
  made: {
    layer: LayerId
    pool: LayerRecord['pool']
    by: OperationId
    role: 'prepared' | 'successor'
    parent: PointRef | null
    sizeBytes: number
    volume: string
  },
): Promise<LayerRecord> {
  const [installation, volume] = await Promise.all([installationOf(db), volumeFacts(db, { id: made.volume })])
  const { layer, pool, by: madeBy, role, parent, sizeBytes } = made
  return { format: 1, installation, madeBy, layer, pool, role, parent, sizeBytes, volume, points: [] }
}

/** The record of a head that is about to become a point: it says so before the flip, and names the snapshot. */
export async function markedRecord(
  db: Reader,
  layer: LayerId,
  mark: { point: PointId; snapshot: PointRecord['snapshots'][number] | null },
): Promise<LayerRecord> {
  const now = await recordOf(db, layer)
  const generation = now.volume?.generation ?? 0
  const point: PointRecord = {
    point: mark.point,
    generation,
    sizeBytes: now.volume?.sizeBytes ?? now.sizeBytes,
    snapshots: mark.snapshot ? [mark.snapshot] : [],
  }
  return { ...now, role: 'frozen', points: [...now.points, point] }
}

/** Writes the records of these layers on their storage, as the rows stand now. Layers that are gone are passed over. */
export async function describeLayers(world: World, layers: readonly { layer: LayerId; volume?: string }[]): Promise<void> {
  await each(layers, async ({ layer, volume }) => {
    const row = await world.db.selectFrom('layers').select(['pool_id', 'state']).where('id', '=', layer).executeTakeFirst()
    if (row?.state !== 'present') return
    await world.storage(row.pool_id).describe(await recordOf(world.db, layer, volume === undefined ? {} : { volume }))
  })
}

/** The rows of layers that were named, made and taken back. */
export async function forgetLayers(tx: Tx, layers: readonly LayerId[]): Promise<void> {
  if (layers.length > 0) await tx.deleteFrom('layers').where('id', 'in', layers).where('state', '=', 'making').execute()
}
