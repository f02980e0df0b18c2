/** Changing what the database says of a backup; what lies in its vault stays as it was written. */
import { refuse } from '../domain/refusals.ts'
import type { BackupState } from '../domain/volume.ts'
import type { Caller } from './caller.ts'
import type { PolicyName } from './policy/policy.ts'
import { type BackupRow, findBackup } from './views/backups.ts'
import type { ViewNeeds } from './views/visible.ts'

export type BackupChange = Partial<{
  name: string
  description: string | null
  metadata: Readonly<Record<string, string>>
  state: 'available' | 'error'
}>

export async function changeBackup(
  needs: ViewNeeds,
  caller: Caller,
  id: string,
  rule: PolicyName,
  change: (before: { readonly state: BackupState; readonly root_hash: string | null }) => BackupChange,
): Promise<BackupRow> {
  const found = await findBackup(needs, caller, id, rule)
  await needs.db.transaction().execute(async (tx) => {
    const before = await tx
      .selectFrom('backups')
      .select(['state', 'root_hash'])
      .where('id', '=', found.id)
      .where('deleted_at', 'is', null)
      .forUpdate()
      .executeTakeFirst()
    if (!before) throw refuse.notFound({ what: 'Backup', id })
    const { metadata, ...rest } = change(before)
    await tx
      .updateTable('backups')
      .set({ ...rest, ...(metadata ? { metadata: JSON.stringify(metadata) } : {}), updated_at: new Date() })
      .where('id', '=', found.id)
      .execute()
  })
  return await findBackup(needs, caller, id, rule)
}
