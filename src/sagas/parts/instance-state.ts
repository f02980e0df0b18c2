import type { InstanceId } from '../../domain/ids.ts'
import type { InstanceState } from '../../domain/instance.ts'
import type { Db, Tx } from '../../ports/tables.ts'

/** Sets what is true of the instance; `fault` is for its owner, and goes when the state is good again. */
export async function setInstanceState(
  db: Db | Tx,
  instance: InstanceId,
  state: InstanceState,
  fault: string | null = null,
): Promise<void> {
  await db
    .updateTable('instances')
    .set({
      state,
      fault: fault === null ? null : JSON.stringify({ code: 500, message: fault, at: new Date() }),
      updated_at: new Date(),
      ...(state === 'running' ? { launched_at: new Date() } : {}),
      ...(state === 'running' ? {} : { paused_because: null }),
    })
    .where('id', '=', instance)
    .execute()
}
