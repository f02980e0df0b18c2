/**
 * Snapshots of all kinds: points of one or more disks at one moment, and names for them.
 *
 * With one point a layer (qcow2) the present head is frozen and a new layer goes on; on a running machine that is the
 * *pivot*, a QMP transaction over all disks. It has no undo. Whenever its result is unknown, we look: QEMU alive answers what
 * each device writes; QEMU gone: the new layers are the heads, for an empty layer over a dead head has the same content, and the
 * snapshot is called failed, since its moment is not proved. A layer that may have been pivoted to is never removed.
 * With many points a layer (RBD) the head stays, and the machine is paused while the storage takes the points.
 *
 *   step            do                                            taken back by
 *   prepareLayers   new empty layers over the heads               removing them
 *   pivot           all devices write the new layers              cannot be: looks, and goes on if it happened
 *   markHeads       the old heads become points                   unmarking them
 *   recordPoints    (commit) points, heads, names                 -- from here on it is done --
 *   describeLayers  the storage's own records say so too
 */
import { sql } from 'kysely'
import type { Bytes, HostId, ImageId, InstanceId, LayerId, PointId, PoolId, SnapshotId, VolumeId } from '../domain/ids.ts'
import { refuse } from '../domain/refusals.ts'
import type { Consistency, SnapshotKind } from '../domain/volume.ts'
import type { PivotOutcome } from '../ports/host-agent.ts'
import type { Tx } from '../ports/tables.ts'
import { describeLayers, forgetLayers, markedRecord, newLayerRecord, recordOf } from './parts/catalogue.ts'
import { startCooldown } from './parts/cooldown.ts'
import { type Context, each, saga } from './parts/define.ts'
import { wereLeftClean } from './parts/left-clean.ts'

export type PointedDisk = {
  readonly volume: VolumeId
  readonly pool: PoolId
  readonly device: string | null
  readonly head: LayerId
  /** The layer that goes on; null where points lie inside the layer. */
  readonly next: LayerId | null
  readonly point: PointId
  readonly snapshot: {
    readonly id: SnapshotId
    readonly name: string
    readonly kind: SnapshotKind
    readonly metadata: Readonly<Record<string, string>>
  }
  readonly sizeBytes: Bytes
}

export type TakePointsParams = {
  readonly instance: InstanceId | null
  readonly host: HostId | null
  readonly running: boolean
  readonly image: ImageId | null
  readonly consistency: Consistency
  readonly freezeSeconds: number
  readonly disks: readonly PointedDisk[]
}

type Taken = Omit<PivotOutcome, 'result'> & { readonly result: PivotOutcome['result'] | 'offline' }
type Step = Context<TakePointsParams>

export const takePoints = saga<TakePointsParams>('take-points')
  .step('prepareLayers', {
    do: async ({ params, operation, world }) => {
      await each(params.disks, async ({ pool, head, next, point, sizeBytes, volume }) => {
        if (!next) return
        const parent = { layer: head, point }
        const record = await newLayerRecord(world.db, {
          layer: next,
          pool,
          by: operation,
          role: 'successor',
          parent,
          sizeBytes,
          volume,
        })
        await world.storage(pool).newLayer(next, parent, sizeBytes, record)
      })
    },
    undo: async ({ params, world }) => {
      await each(params.disks, async ({ pool, next }) => (next ? world.storage(pool).remove(next) : undefined))
    },
  })
  .step('pivot', {
    do: async (step): Promise<Taken> => (step.params.running ? pivot(step) : offline(step)),
    undo: async (step) => {
      await resume(step)
      await proveNotPivoted(step)
      if (step.params.running) await unmarkInside(step)
    },
    pointOfNoReturn: true,
  })
  .step('markHeads', {
    do: async ({ params, world }) => {
      await each(params.disks, async ({ pool, head, point, snapshot }) => {
        const name = { ...snapshot, createdAt: new Date().toISOString(), image: params.image }
        await world.storage(pool).mark(head, point, await markedRecord(world.db, head, { point, snapshot: name }))
      })
    },
    undo: async ({ params, world }) => {
      await each(params.disks, async ({ pool, head, point }) =>
        world.storage(pool).unmark(head, point, await recordOf(world.db, head)),
      )
    },
  })
  .commit('recordPoints', async ({ params, done, operation }, tx) => {
    const proved = done.pivot.result !== 'gone'
    for (const disk of params.disks) await recordPoint(tx, disk, done.pivot)
    if (proved) await startCooldown(tx, operation)
    if (params.image) {
      await tx
        .updateTable('images')
        .set({
          status: proved ? 'active' : 'killed',
          properties: sql`properties || ${JSON.stringify(propertiesOf(done.pivot))}::jsonb`,
          updated_at: new Date(),
        })
        .where('id', '=', params.image)
        .execute()
    }
  })
  .finish('describeLayers', async ({ params, world }) => {
    const heads = params.disks.flatMap(({ next }) => (next ? [{ layer: next }] : []))
    await describeLayers(world, [...heads, ...params.disks.map(({ head, volume }) => ({ layer: head, volume }))])
  })
  .afterUndo(async ({ params }, tx) => {
    const ids = params.disks.map(({ snapshot }) => snapshot.id)
    await forgetLayers(
      tx,
      params.disks.flatMap(({ next }) => next ?? []),
    )
    await tx.updateTable('volume_snapshots').set({ state: 'error', updated_at: new Date() }).where('id', 'in', ids).execute()
    if (params.image)
      await tx.updateTable('images').set({ status: 'killed', updated_at: new Date() }).where('id', '=', params.image).execute()
  })
  .build(({ params, done }) => ({
    image: params.image,
    snapshots: params.disks.map(({ snapshot }) => snapshot.id),
    proved: done.pivot.result !== 'gone',
    consistency: done.pivot.achieved,
    why: done.pivot.why,
    stallMs: done.pivot.stallMs,
  }))

/** For those who see an instance snapshot as an image only. */
const propertiesOf = ({ achieved, why }: Taken) => ({
  xloud_consistency: achieved,
  ...(why === null ? {} : { xloud_consistency_why: why }),
})

/** A machine that is off has nothing in flight: its disks are as its guest left them. */
async function offline({ params, world }: Step): Promise<Taken> {
  const { instance, consistency: asked, disks } = params
  const isClean = await wereLeftClean(
    world.db,
    disks.map(({ volume }) => volume),
  )
  const isEnough = asked === 'crash' || (asked === 'filesystem' && isClean)
  const who = instance ? 'The instance was off' : 'The volume was not in use'
  const how = isClean
    ? 'left by a guest that had shut down: file systems are whole, but no freeze hook ran.'
    : 'and it is not known that the guest that used it last had shut down.'
  const why = isEnough ? null : `${who}, ${how}`
  return { result: 'offline', achieved: isClean ? 'filesystem' : 'crash', why, stallMs: 0 }
}

async function pivot(step: Step): Promise<Taken> {
  const { params, world } = step
  const { instance, host, consistency, freezeSeconds } = params
  if (!instance || !host) return await offline(step)
  const agent = world.hosts(host)
  const byStorage = params.disks.filter(({ next }) => !next)
  const byQemu = params.disks.flatMap(({ device, head, next, pool }) =>
    next && device ? [{ device, from: head, to: next, pool }] : [],
  )
  if (byStorage.length === 0) return agent.pivot({ instance, disks: byQemu, consistency, freezeSeconds })

  const since = world.clock.monotonicMs()
  try {
    await agent.pauseMachine(instance)
    const outcome =
      byQemu.length > 0 ? await agent.pivot({ instance, disks: byQemu, consistency: 'crash', freezeSeconds }) : undefined
    await each(byStorage, async ({ pool, head, point, snapshot }) => {
      const name = { ...snapshot, createdAt: new Date().toISOString(), image: params.image }
      await world.storage(pool).mark(head, point, await markedRecord(world.db, head, { point, snapshot: name }))
    })
    const stallMs = Math.round(world.clock.monotonicMs() - since)
    const why = consistency === 'crash' ? null : 'A guest with disks in such a pool is paused for a snapshot, not frozen.'
    return { result: outcome?.result ?? 'pivoted', achieved: 'crash', why, stallMs }
  } finally {
    await agent.resumeMachine(instance)
  }
}

/** Lets a machine go on that was paused for its points, if it may have been. */
async function resume({ params: { instance, host, running, disks }, world }: Step): Promise<void> {
  if (running && instance && host && disks.some(({ next }) => !next)) await world.hosts(host).resumeMachine(instance)
}

/** Takes back the points that the storage marked inside layers which go on. */
async function unmarkInside({ params, world }: Step): Promise<void> {
  const inside = params.disks.filter(({ next }) => !next)
  await each(inside, async ({ pool, head, point }) => world.storage(pool).unmark(head, point, await recordOf(world.db, head)))
}

/** Going back is possible only while every device still writes its old head, or while the new layers hold nothing. */
async function proveNotPivoted({ params, world }: Step): Promise<void> {
  const { instance, host } = params
  if (!params.running || !instance || !host) return
  const { state, heads } = await world.hosts(host).machine(instance)
  for (const { device, pool, head, next, volume } of params.disks) {
    if (!next || !device) continue
    if (state !== 'off' && heads[device] === head) continue
    if (state !== 'off' || !(await world.storage(pool).isEmpty(next)))
      throw refuse.hostFailure({ what: `volume ${volume} may have been written in layer ${next}, which is not removed` })
  }
}

async function recordPoint(tx: Tx, disk: PointedDisk, taken: Taken): Promise<void> {
  const { volume, head, next, point, snapshot, sizeBytes } = disk
  const { generation } = await tx.selectFrom('volumes').select('generation').where('id', '=', volume).executeTakeFirstOrThrow()
  await tx.insertInto('points').values({ id: point, layer_id: head, size_bytes: sizeBytes, generation }).execute()
  if (next) await tx.updateTable('layers').set({ state: 'present', parent_point_id: point }).where('id', '=', next).execute()
  const { numUpdatedRows } = await tx
    .updateTable('volumes')
    .set((row) => ({ head_layer_id: next ?? head, generation: row('generation', '+', 1), updated_at: new Date() }))
    .where('id', '=', volume)
    .where('head_layer_id', '=', head)
    .executeTakeFirst()
  if (numUpdatedRows !== 1n) throw new Error(`volume ${volume} no longer has the head ${head}`)
  await tx
    .updateTable('volume_snapshots')
    .set({
      point_id: point,
      state: taken.result === 'gone' ? 'error' : 'available',
      consistency: taken.achieved,
      consistency_why: taken.why,
      updated_at: new Date(),
    })
    .where('id', '=', snapshot.id)
    .execute()
}
