/**
 * Writes a backup of a point into a vault. The point was taken by an operation of its own, which this one waits for; from then
 * on the volume is not needed any more, whatever becomes of it. The layers that the point is read through are locked against
 * merging, and so are those of the previous backup's point, against which only changes are read.
 *
 *   step            do                                           taken back by
 *   findPoints      looks for the point, proves the former one   nothing: it only reads
 *   write           the host's mover writes; manifest last       discarding what its attempts wrote
 *   available       (commit) the row; which point is kept        -- from here on it is done --
 *   describeLayers  the storage's own records say so too
 *
 * Taken back, the backup is shown as failed with the reason, and its point goes.
 */
import { sql } from 'kysely'
import type { BackupId, HostId, OperationId, PoolId, ProjectId, SnapshotId, VaultId, VolumeId } from '../domain/ids.ts'
import { refusalOf, refuse } from '../domain/refusals.ts'
import type { Consistency } from '../domain/volume.ts'
import type { Tx } from '../ports/tables.ts'
import type { BackupFacts, BackupOutcome, SourcePoint, WriteBackup } from '../ports/vault-mover.ts'
import type { World } from '../ports/world.ts'
import { describeLayers } from './parts/catalogue.ts'
import { startCooldown } from './parts/cooldown.ts'
import { type Context, noUndo, saga } from './parts/define.ts'
import { keepOnly, provedPoint, releasePoints, sourceOf } from './parts/kept-points.ts'
import { sweepLater } from './parts/sweeps.ts'
import { accessOf, progressOf } from './parts/vault.ts'

export type WriteBackupParams = {
  readonly backup: BackupId
  readonly volume: VolumeId
  readonly project: ProjectId
  readonly vault: VaultId
  /** Where the data is moved: it reaches the pool and the vault. */
  readonly host: HostId
  readonly pool: PoolId
  /** The hidden snapshot that names the point. */
  readonly snapshot: SnapshotId
  /** The operation that takes the point; null: it was there before. */
  readonly moment: OperationId | null
  /** The volume's latest backup in the vault. */
  readonly previous: { readonly backup: BackupId; readonly snapshot: SnapshotId | null } | null
  readonly read: 'auto' | 'full'
  readonly facts: Omit<BackupFacts, 'consistency'>
}

type Found = {
  readonly source: SourcePoint
  readonly consistency: Consistency
  readonly why: string | null
  readonly previous: WriteBackup['previous']
}

const refOf = ({ volume, backup, project }: WriteBackupParams) => ({ volume, backup, project })

export const writeBackup = saga<WriteBackupParams>('write-backup')
  .step('findPoints', { do: findPoints, undo: noUndo('it only reads') })
  .step('write', {
    do: async ({ params, done, world, signal, progress }): Promise<BackupOutcome> => {
      const { source, consistency, previous } = done.findPoints
      const request = { of: refOf(params), source, previous, facts: { ...params.facts, consistency } }
      const access = await accessOf(world, params.vault)
      return world.mover(params.host).writeBackup(access, request, progressOf(world.clock, progress), signal)
    },
    undo: async ({ params, world }) =>
      world.mover(params.host).discardBackup(await accessOf(world, params.vault), refOf(params)),
  })
  .commit('available', async ({ params, done, operation }, tx) => {
    await recordOutcome(tx, params, done.findPoints, done.write)
    await startCooldown(tx, operation)
    return await keepOnly(tx, params)
  })
  .finish('describeLayers', async ({ params, done, world }) => {
    const own = { layer: done.findPoints.source.point.layer, volume: params.volume }
    await describeLayers(world, [...done.available, own])
  })
  .afterUndo(async ({ params, because }, tx) => {
    await releasePoints(tx, [params.backup])
    await tx
      .updateTable('backups')
      .set({
        state: 'error',
        fail_reason: sql<string>`coalesce(fail_reason, ${because.message})`,
        updated_at: new Date(),
      })
      .where('id', '=', params.backup)
      .execute()
    await sweepLater(tx, params.vault, params.volume)
  })
  .build(({ params, done }) => ({ backup: params.backup, volume: params.volume, ...done.write }))

async function findPoints({ params, world }: Context<WriteBackupParams>): Promise<Found> {
  const row = await world.db
    .selectFrom('volume_snapshots')
    .select(['state', 'consistency', 'consistency_why'])
    .where('id', '=', params.snapshot)
    .executeTakeFirst()
  const source = await sourceOf(world.db, params.snapshot)
  if (row?.state !== 'available' || !source) throw await whyNoPoint(world, params.moment)
  const previous = await previousOf(world, params)
  return { source, consistency: row.consistency ?? 'crash', why: row.consistency_why, previous }
}

/** What the operation that was to take the point has to say. */
async function whyNoPoint({ db }: World, moment: OperationId | null): Promise<Error> {
  const taken = moment && (await db.selectFrom('operations').select('problem').where('id', '=', moment).executeTakeFirst())
  return taken?.problem ? refusalOf(taken.problem) : refuse.snapshotUnusable()
}

async function previousOf(world: World, { previous, pool, read }: WriteBackupParams): Promise<WriteBackup['previous']> {
  if (previous === null) return null
  const { backup } = previous
  if (read === 'full') return { backup, point: null, whyNot: 'Everything was asked to be read.' }
  const proved = await provedPoint(world, { ...previous, pool })
  return 'point' in proved ? { backup, point: proved.point, whyNot: null } : { backup, point: null, whyNot: proved.whyNot }
}

async function recordOutcome(tx: Tx, params: WriteBackupParams, found: Found, outcome: BackupOutcome): Promise<void> {
  await tx
    .updateTable('backups')
    .set({
      state: 'available',
      fail_reason: null,
      facts: JSON.stringify({ ...params.facts, consistency: found.consistency }),
      size_bytes: outcome.sizeBytes,
      stored_bytes: outcome.storedBytes,
      read_bytes: outcome.readBytes,
      root_hash: outcome.rootHash,
      base_backup_id: outcome.base,
      full_because: outcome.base === null ? (outcome.why ?? firstOne) : null,
      consistency: found.consistency,
      consistency_why: found.why,
      updated_at: new Date(),
    })
    .where('id', '=', params.backup)
    .execute()
}

const firstOne = 'It is the first backup of the volume in this vault.'
