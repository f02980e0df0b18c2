/** Changes of an instance that touch nothing but its record: name, description, metadata, tags, lock. */
import type { InstanceId } from '../domain/ids.ts'
import { refuse } from '../domain/refusals.ts'
import type { Db } from '../ports/tables.ts'
import { type Caller, isAdmin } from './caller.ts'
import { findInstance, type InstanceRow } from './instances.ts'
import type { PolicyName } from './policy/policy.ts'
import type { Reads } from './reads.ts'

/** A lock keeps its owner from changing by mistake; it does not bind an administrator. */
export function requireUnlocked(caller: Caller, instance: Pick<InstanceRow, 'id' | 'locked'>): void {
  if (instance.locked && !isAdmin(caller)) throw refuse.instanceLocked({ id: instance.id })
}

type Change = Partial<{
  name: string
  description: string | null
  metadata: Readonly<Record<string, string>>
  tags: readonly string[]
}>

/** `change` sees the row as it is under its lock, so that two changes at once both count. */
export async function changeInstance(
  reads: Reads,
  caller: Caller,
  id: string,
  rule: PolicyName,
  change: (before: InstanceRow) => Change,
): Promise<InstanceRow> {
  const found = await findInstance(reads, caller, id, rule)
  return await reads.db.transaction().execute(async (tx) => {
    const before = await tx.selectFrom('instances').selectAll().where('id', '=', found.id).forUpdate().executeTakeFirstOrThrow()
    requireUnlocked(caller, before)
    const { metadata, tags, ...rest } = change(before)
    return await tx
      .updateTable('instances')
      .set({
        ...rest,
        ...(metadata ? { metadata: JSON.stringify(metadata) } : {}),
        ...(tags ? { tags: [...new Set(tags)] } : {}),
        updated_at: new Date(),
      })
      .where('id', '=', found.id)
      .returningAll()
      .executeTakeFirstOrThrow()
  })
}

export async function lockInstance(reads: Reads, caller: Caller, id: string, reason: string | null): Promise<void> {
  const found = await findInstance(reads, caller, id, 'os_compute_api:os-lock-server:lock')
  await setLock(reads.db, found.id, true, reason)
}

export async function unlockInstance(reads: Reads, caller: Caller, id: string): Promise<void> {
  const found = await findInstance(reads, caller, id, 'os_compute_api:os-lock-server:unlock')
  await setLock(reads.db, found.id, false, null)
}

async function setLock(db: Db, id: InstanceId, locked: boolean, reason: string | null): Promise<void> {
  await db
    .updateTable('instances')
    .set({ locked, locked_reason: reason, updated_at: new Date() })
    .where('id', '=', id)
    .execute()
}

/** An administrator calls an instance broken; what it is called otherwise follows from its machine, which is started or stopped. */
export async function markInError(reads: Reads, caller: Caller, id: string): Promise<void> {
  const { id: found } = await findInstance(reads, caller, id, 'os_compute_api:os-admin-actions:reset_state')
  const fault = { code: 500, message: 'Set to error by an administrator.', at: new Date() }
  await reads.db.transaction().execute(async (tx) => {
    await tx.selectFrom('instances').select('id').where('id', '=', found).forUpdate().execute()
    const holder = await tx
      .selectFrom('locks')
      .innerJoin('operations', 'operations.id', 'locks.operation_id')
      .select('operations.kind')
      .where('resource', '=', `instance:${found}`)
      .executeTakeFirst()
    if (holder) throw refuse.instanceBusy({ id: found, operation: holder.kind })
    await tx
      .updateTable('instances')
      .set({ state: 'error', fault: JSON.stringify(fault), updated_at: new Date() })
      .where('id', '=', found)
      .execute()
  })
}
