/**
 * Guard rails of what users ask for one volume at a time: one at once on each volume, a pause after it, caps on what is kept,
 * a few in flight a user. They are counted in the transaction that starts the operation, behind the lock of the account's row
 * and the volume's, so that of many requests at once exactly as many pass as there may be.
 */
import { sql } from 'kysely'
import type { UserId, VolumeId } from '../domain/ids.ts'
import { refuse } from '../domain/refusals.ts'
import type { VolumeOperation } from '../domain/volume.ts'
import type { Tx } from '../ports/tables.ts'
import type { Caller } from './caller.ts'
import type { Needs } from './needs.ts'

/** To be called before any other lock is taken: those who ask for the same account go on one after another. */
export async function lockAccount(tx: Tx, { user }: Caller): Promise<void> {
  await tx.selectFrom('users').select('id').where('id', '=', user).forNoKeyUpdate().execute()
}

/** Refuses what may not start now; account and volumes are locked. Several volumes are one request. */
export async function requireVolumeOperation(
  tx: Tx,
  needs: Needs,
  caller: Caller,
  volumes: readonly VolumeId[],
  operation: VolumeOperation,
): Promise<void> {
  for (const volume of volumes) {
    await requireFree(tx, volume)
    await requirePlanAllows(tx, volume, operation)
  }
  await requireFewInFlight(tx, caller.user, needs.settings.volumeOperationsPerUser)
}

/** A backup that is being stored holds its volume no more, and is its operation all the same. */
export async function requireFree(tx: Tx, volume: VolumeId): Promise<void> {
  const open = await tx
    .selectFrom('operations')
    .select('volume_operation')
    .where('volume_id', '=', volume)
    .where('ended_at', 'is', null)
    .executeTakeFirst()
  if (open?.volume_operation) throw refuse.volumeBusy({ operation: open.volume_operation })
}

async function requirePlanAllows(tx: Tx, volume: VolumeId, operation: VolumeOperation): Promise<void> {
  const plan = await tx
    .selectFrom('volumes as v')
    .innerJoin('plans as p', 'p.id', 'v.plan_id')
    .select(['p.name', 'p.max_snapshots', 'p.max_backups'])
    .select(sql<number>`greatest(0, ceil(extract(epoch from v.cooldown_until - clock_timestamp())))::int`.as('cooldown'))
    .select((row) =>
      row
        .selectFrom('volume_snapshots as s')
        .select(({ fn }) => fn.countAll<number>().as('count'))
        .whereRef('s.volume_id', '=', 'v.id')
        .where('s.kind', '=', 'user')
        .where('s.state', '!=', 'error')
        .where('s.deleted_at', 'is', null)
        .as('snapshots'),
    )
    .select((row) =>
      row
        .selectFrom('backups as b')
        .select(({ fn }) => fn.countAll<number>().as('count'))
        .whereRef('b.volume_id', '=', 'v.id')
        .where('b.state', '!=', 'error')
        .where('b.deleted_at', 'is', null)
        .as('backups'),
    )
    .where('v.id', '=', volume)
    .executeTakeFirst()
  if (!plan) return
  if (plan.cooldown > 0) throw refuse.volumeCooldown({ retry_after_seconds: plan.cooldown })
  if (operation === 'snapshot' && (plan.snapshots ?? 0) >= plan.max_snapshots)
    throw refuse.snapshotLimit({ limit: plan.max_snapshots, plan: plan.name })
  if (operation === 'backup' && (plan.backups ?? 0) >= plan.max_backups)
    throw refuse.backupLimit({ limit: plan.max_backups, plan: plan.name })
}

/** What one request has started counts once: the backups of an instance's disks are one. */
async function requireFewInFlight(tx: Tx, user: UserId, limit: number): Promise<void> {
  const { count } = await tx
    .selectFrom('operations')
    .select(({ fn }) => fn.count<number>('request_id').distinct().as('count'))
    .where('user_id', '=', user)
    .where('volume_id', 'is not', null)
    .where('ended_at', 'is', null)
    .executeTakeFirstOrThrow()
  if (count >= limit) throw refuse.volumeOperationLimit({ limit })
}

/** Typed names: null is a face whose protocol has no place for them. */
export function requireConfirmed(what: string, name: string, typed: string | null): void {
  if (typed !== null && typed !== name) throw refuse.notConfirmed({ what, name })
}
