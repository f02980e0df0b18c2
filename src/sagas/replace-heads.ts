/**
 * Rollback of an instance, revert of a volume, restore in place: the volumes get new heads, made from points or from a backup.
 *
 * Nothing is overwritten, and from points nothing is copied, so it takes the same time at any size. What was there stays: the old heads become the
 * safety snapshot. New layers are prepared while the machine still runs; then it is stopped, the old heads' own write locks
 * are taken so that nobody else can be writing, and one database transaction turns all pointers at once.
 *
 *   step             do                                              taken back by
 *   prepareLayers    new layers on the target points, or blank       removing them
 *   fillLayers       a backup's content, proved whole                 with the layers
 *   stopInstance     stops it, within the caller's time, then hard   starting it, if it ran
 *   holdOldHeads     the storage's own write locks                   releasing them
 *   markOldHeads     the old heads become safety points              unmarking them
 *   flipHeads        (commit) all volumes point at their new heads   -- from here on it is done --
 *   describeLayers   the storage's own records say so too
 *   releaseOldHeads
 *   startInstance    if asked
 *   settle           the instance's state, the time it took
 */
import { sql } from 'kysely'
import type {
  Bytes,
  HostId,
  InstanceId,
  LayerId,
  OperationId,
  PointId,
  PoolId,
  ProjectId,
  SnapshotId,
  UserId,
  VolumeId,
} from '../domain/ids.ts'
import type { Fault } from '../domain/instance.ts'
import type { StopMode } from '../ports/host-agent.ts'
import type { PointRef } from '../ports/storage-driver.ts'
import type { Tx } from '../ports/tables.ts'
import type { World } from '../ports/world.ts'
import { describeLayers, forgetLayers, markedRecord, newLayerRecord, recordOf } from './parts/catalogue.ts'
import { startCooldown } from './parts/cooldown.ts'
import { each, noUndo, saga } from './parts/define.ts'
import { type Fill, fillLayer } from './parts/fill.ts'
import { startMachine } from './parts/machine.ts'
import { stopwatch } from './parts/stopwatch.ts'

export type Safety = {
  readonly snapshot: SnapshotId
  readonly point: PointId
  readonly name: string
  readonly metadata: Readonly<Record<string, string>>
}

export type ReplacedDisk = {
  readonly volume: VolumeId
  readonly project: ProjectId
  readonly user: UserId | null
  readonly pool: PoolId
  /** Null for a volume that is attached to nothing. */
  readonly device: string | null
  readonly head: LayerId
  readonly next: LayerId
  /** Null: it starts blank, and is filled. */
  readonly from: PointRef | null
  /** Absent: its content is that of the point. */
  readonly fill?: Fill
  readonly sizeBytes: Bytes
  readonly safety: Safety | null
}

export type ReplaceHeadsParams = {
  /** Id of the instance snapshot (image), of the one volume snapshot, or of the backup. */
  readonly target: string
  readonly instance: InstanceId | null
  readonly host: HostId | null
  readonly wasRunning: boolean
  readonly startAfter: boolean
  readonly stop: StopMode
  readonly disks: readonly ReplacedDisk[]
}

export const replaceHeads = saga<ReplaceHeadsParams>('replace-heads')
  .step('prepareLayers', {
    do: async ({ params, operation, world }) =>
      each(params.disks, async (disk) => {
        const seconds = stopwatch(world.clock)
        const { next, pool, from, sizeBytes, volume } = disk
        const record = await newLayerRecord(world.db, {
          layer: next,
          pool,
          by: operation,
          role: 'prepared',
          parent: from,
          sizeBytes,
          volume,
        })
        await world.storage(pool).newLayer(next, from, sizeBytes, record)
        return { volume, seconds: seconds() }
      }),
    undo: async ({ params, world }) => void (await each(params.disks, ({ pool, next }) => world.storage(pool).remove(next))),
  })
  .step('fillLayers', {
    do: async (step) =>
      each(step.params.disks, async ({ next, pool, sizeBytes, fill }) =>
        fill ? fillLayer(step, { layer: next, pool, sizeBytes, fill }) : { writtenBytes: 0 },
      ),
    undo: noUndo('what was filled is removed with the layers'),
  })
  .step('stopInstance', {
    do: async ({ params, world }) => {
      const seconds = stopwatch(world.clock)
      const { instance, host } = params
      const stopped =
        instance && host ? await world.hosts(host).stopMachine(instance, params.stop) : { how: 'off' as const, clean: false }
      return { ...stopped, seconds: seconds() }
    },
    undo: async ({ params, world }) => {
      if (params.wasRunning && params.instance) await startMachine(world, params.instance)
    },
  })
  .step('holdOldHeads', {
    do: async ({ params, operation, world }) => {
      await each(poolsOf(params), (pool) => world.storage(pool).hold(operation, headsIn(params, pool)))
    },
    undo: async ({ params, operation, world }) => release(world, params, operation),
  })
  .step('markOldHeads', {
    do: async ({ params, world }) =>
      each(params.disks, async ({ pool, head, safety, volume }) => {
        const seconds = stopwatch(world.clock)
        if (safety)
          await world
            .storage(pool)
            .mark(head, safety.point, await markedRecord(world.db, head, { point: safety.point, snapshot: nameOf(safety) }))
        return { volume, seconds: seconds() }
      }),
    undo: async ({ params, world }) =>
      void (await each(params.disks, async ({ pool, head, safety }) => {
        if (safety) await world.storage(pool).unmark(head, safety.point, await recordOf(world.db, head))
      })),
  })
  .commit('flipHeads', async ({ params, done, operation }, tx) => {
    for (const disk of params.disks) {
      if (disk.safety) await insertSafety(tx, disk, disk.safety, params, operation, done.stopInstance.clean)
      await flipHead(tx, disk)
    }
    await startCooldown(tx, operation)
    if (params.instance) {
      await tx
        .updateTable('instances')
        .set({ state: 'stopped', fault: null, updated_at: new Date() })
        .where('id', '=', params.instance)
        .execute()
    }
  })
  .finish('describeLayers', async ({ params, world }) => {
    // The new heads first: until one of them says so, the old ones must not have ceased to be heads.
    await describeLayers(
      world,
      params.disks.map(({ next }) => ({ layer: next })),
    )
    await describeLayers(
      world,
      params.disks.map(({ head, volume }) => ({ layer: head, volume })),
    )
  })
  .finish('releaseOldHeads', async ({ params, operation, world }) => release(world, params, operation))
  .finish('startInstance', async ({ params, world }) => {
    const seconds = stopwatch(world.clock)
    if (params.startAfter && params.instance) await startMachine(world, params.instance)
    return { seconds: seconds() }
  })
  .finish('settle', async ({ params, done, world, operation }) => {
    if (params.instance && params.startAfter) await settle(world, params.instance, done.startInstance !== undefined)
    const { rows } = await sql<{ seconds: number }>`
      select extract(epoch from clock_timestamp() - created_at)::float8 as seconds from operations where id = ${operation}`.execute(
      world.db,
    )
    return { seconds: rows[0]?.seconds ?? 0 }
  })
  .afterUndo(({ params }, tx) =>
    forgetLayers(
      tx,
      params.disks.map(({ next }) => next),
    ),
  )
  .build(({ params, done }) => ({
    instance: params.instance,
    target: params.target,
    volumesReverted: params.disks.map(({ volume, device }) => ({
      volume,
      device,
      elapsedSeconds: secondsOf(done.prepareLayers, volume) + secondsOf(done.markOldHeads, volume),
    })),
    safetySnapshots: params.disks.flatMap(({ safety }) => (safety ? [safety.snapshot] : [])),
    durationSeconds: done.settle?.seconds ?? 0,
    phases: {
      prepare: Math.max(0, ...done.prepareLayers.map(({ seconds }) => seconds)),
      stop: done.stopInstance.seconds,
      safety: Math.max(0, ...done.markOldHeads.map(({ seconds }) => seconds)),
      start: done.startInstance?.seconds ?? 0,
    },
    stopped: done.stopInstance.how,
    powerState: params.startAfter && done.startInstance !== undefined ? 'on' : 'off',
  }))

const poolsOf = ({ disks }: ReplaceHeadsParams): PoolId[] => [...new Set(disks.map(({ pool }) => pool))]
const headsIn = ({ disks }: ReplaceHeadsParams, pool: PoolId) =>
  disks.filter((disk) => disk.pool === pool).map(({ head }) => head)
const secondsOf = (times: readonly { volume: VolumeId; seconds: number }[], volume: VolumeId) =>
  times.find((time) => time.volume === volume)?.seconds ?? 0

const nameOf = ({ snapshot, name, metadata }: Safety) => ({
  id: snapshot,
  name,
  kind: 'safety' as const,
  createdAt: new Date().toISOString(),
  metadata,
  image: null,
})

async function release(world: World, params: ReplaceHeadsParams, operation: OperationId): Promise<void> {
  await each(poolsOf(params), (pool) => world.storage(pool).release(operation))
}

async function insertSafety(
  tx: Tx,
  disk: ReplacedDisk,
  safety: Safety,
  params: ReplaceHeadsParams,
  operation: OperationId,
  isClean: boolean,
): Promise<void> {
  const { generation, left_clean } = await tx
    .selectFrom('volumes')
    .select(['generation', 'left_clean'])
    .where('id', '=', disk.volume)
    .executeTakeFirstOrThrow()
  await tx
    .insertInto('points')
    .values({ id: safety.point, layer_id: disk.head, size_bytes: disk.sizeBytes, generation })
    .execute()
  await tx
    .insertInto('volume_snapshots')
    .values({
      id: safety.snapshot,
      project_id: disk.project,
      user_id: disk.user,
      volume_id: disk.volume,
      point_id: safety.point,
      name: safety.name,
      description: 'State before a rollback, kept so that it can be undone',
      kind: 'safety',
      size_bytes: disk.sizeBytes,
      state: 'available',
      metadata: JSON.stringify(safety.metadata),
      instance_id: params.instance,
      device: disk.device,
      image_id: null,
      operation_id: operation,
      consistency: isClean || left_clean ? 'filesystem' : 'crash',
    })
    .execute()
}

/** Turns one pointer, if it still points where the operation found it. */
async function flipHead(tx: Tx, { volume, head, next }: ReplacedDisk): Promise<void> {
  await tx.updateTable('layers').set({ state: 'present' }).where('id', '=', next).execute()
  const { numUpdatedRows } = await tx
    .updateTable('volumes')
    .set((row) => ({
      head_layer_id: next,
      generation: row('generation', '+', 1),
      left_clean: false,
      updated_at: new Date(),
    }))
    .where('id', '=', volume)
    .where('head_layer_id', '=', head)
    .executeTakeFirst()
  if (numUpdatedRows !== 1n) throw new Error(`volume ${volume} no longer has the head ${head}`)
}

async function settle(world: World, instance: InstanceId, started: boolean): Promise<void> {
  const fault: Fault = {
    code: 500,
    message: 'The disks were rolled back, but the machine did not start again. Start it, or undo the rollback.',
    at: new Date(),
  }
  await world.db
    .updateTable('instances')
    .set(
      started ? { state: 'running', fault: null, launched_at: new Date() } : { state: 'error', fault: JSON.stringify(fault) },
    )
    .where('id', '=', instance)
    .execute()
}
