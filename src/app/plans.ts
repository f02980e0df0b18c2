/** Plans of volumes: everybody reads them, administrators make, change and remove them and put volumes into others. */
import { type ExpressionBuilder, type Selectable, sql } from 'kysely'
import { newId, type PlanId, type VolumeId } from '../domain/ids.ts'
import { refuse } from '../domain/refusals.ts'
import type { Db, Tables, Tx } from '../ports/tables.ts'
import type { Caller } from './caller.ts'
import { ownedVolume } from './owned.ts'

type PlanRow = Selectable<Tables['plans']>

export type PlanTerms = {
  readonly name: string
  readonly maxSnapshots: number
  readonly maxBackups: number
  readonly cooldownSeconds: number
  readonly snapshotCreditValue: number
  readonly backupCreditValue: number
}

export async function listPlans(db: Db): Promise<PlanRow[]> {
  return await db.selectFrom('plans').selectAll().orderBy('name').execute()
}

export async function findPlan(db: Db | Tx, id: PlanId): Promise<PlanRow> {
  const row = await db.selectFrom('plans').selectAll().where('id', '=', id).executeTakeFirst()
  if (!row) throw refuse.notFound({ what: 'Plan', id })
  return row
}

export async function createPlan(db: Db, terms: PlanTerms): Promise<PlanRow> {
  const made = await db
    .insertInto('plans')
    .values({ id: newId<PlanId>(), ...columnsOf(terms) })
    .onConflict((conflict) => conflict.column('name').doNothing())
    .returningAll()
    .executeTakeFirst()
  if (!made) throw refuse.nameTaken({ what: 'Plan', name: terms.name })
  return made
}

/** What is already kept beyond a lowered cap stays; a running cooldown ends when it was said to. */
export async function changePlan(db: Db, id: PlanId, terms: Partial<PlanTerms>): Promise<PlanRow> {
  return await db.transaction().execute(async (tx) => {
    const before = await tx.selectFrom('plans').selectAll().where('id', '=', id).forUpdate().executeTakeFirst()
    if (!before) throw refuse.notFound({ what: 'Plan', id })
    const columns = columnsOf({ ...termsOf(before), ...terms })
    const same = await tx
      .selectFrom('plans')
      .select('id')
      .where('name', '=', columns.name)
      .where('id', '!=', id)
      .executeTakeFirst()
    if (same) throw refuse.nameTaken({ what: 'Plan', name: columns.name })
    return await tx.updateTable('plans').set(columns).where('id', '=', id).returningAll().executeTakeFirstOrThrow()
  })
}

export async function deletePlan(db: Db, id: PlanId): Promise<void> {
  await db.transaction().execute(async (tx) => {
    await tx.selectFrom('plans').select('id').where('id', '=', id).forUpdate().execute()
    const { name } = await findPlan(tx, id)
    const { volumes } = await tx
      .selectFrom('volumes')
      .select(({ fn }) => fn.countAll<number>().as('volumes'))
      .where('plan_id', '=', id)
      .where('deleted_at', 'is', null)
      .executeTakeFirstOrThrow()
    if (volumes > 0) throw refuse.inUse({ what: 'Plan', id: name, by: `${volumes} volume${volumes === 1 ? '' : 's'}` })
    await tx.updateTable('volumes').set({ plan_id: null }).where('plan_id', '=', id).execute()
    await tx.deleteFrom('plans').where('id', '=', id).execute()
  })
}

/** Null takes the volume out of its plan. */
export async function changeVolumePlan(db: Db, caller: Caller, volume: VolumeId, plan: PlanId | null): Promise<void> {
  await db.transaction().execute(async (tx) => {
    await ownedVolume(tx, caller, volume)
    if (plan) await requirePlan(tx, plan)
    await tx.updateTable('volumes').set({ plan_id: plan, updated_at: new Date() }).where('id', '=', volume).execute()
  })
}

/** The plan exists and cannot go before this transaction has ended. */
export async function requirePlan(tx: Tx, id: PlanId): Promise<void> {
  const row = await tx.selectFrom('plans').select('id').where('id', '=', id).forKeyShare().executeTakeFirst()
  if (!row) throw refuse.notFound({ what: 'Plan', id })
}

/** Whole seconds until a volume's next operation is let in; 0: now. */
export const cooldownSeconds = ({ ref }: ExpressionBuilder<{ v: Tables['volumes'] }, 'v'>) =>
  sql<number>`case when ${ref('v.plan_id')} is null then 0
    else greatest(0, ceil(extract(epoch from ${ref('v.cooldown_until')} - clock_timestamp()))) end::int`

const columnsOf = (terms: PlanTerms) => ({
  name: terms.name,
  max_snapshots: terms.maxSnapshots,
  max_backups: terms.maxBackups,
  cooldown_seconds: terms.cooldownSeconds,
  snapshot_credit_value: terms.snapshotCreditValue,
  backup_credit_value: terms.backupCreditValue,
})

const termsOf = (row: PlanRow): PlanTerms => ({
  name: row.name,
  maxSnapshots: row.max_snapshots,
  maxBackups: row.max_backups,
  cooldownSeconds: row.cooldown_seconds,
  snapshotCreditValue: row.snapshot_credit_value,
  backupCreditValue: row.backup_credit_value,
})
