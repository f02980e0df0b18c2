/** Taking back a rollback or a restore: the same again, to the safety snapshots that it made. */
import type { InstanceId, OperationId, SnapshotId, VolumeId } from '../domain/ids.ts'
import { refuse } from '../domain/refusals.ts'
import type { Caller } from './caller.ts'
import type { Commands, RollbackRequest, Started } from './commands.ts'
import { type OperationNeeds, operationFor } from './views/operations.ts'

export type UndoNeeds = OperationNeeds & { readonly commands: Pick<Commands, 'rollback' | 'restoreVolume'> }

type How = Pick<RollbackRequest, 'powerStateAfter' | 'stop' | 'disks'>

/** Restores of a volume have one disk; `disks` is for rollbacks of instances. */
export async function undoRollback(needs: UndoNeeds, caller: Caller, id: OperationId, how: How): Promise<Started> {
  const { state, instance } = await operationFor(needs, caller, id, 'os_compute_api:xloud_rollback:rollback')
  const safety = await needs.db
    .selectFrom('volume_snapshots')
    .select(['id', 'volume_id as volume'])
    .where('operation_id', '=', id)
    .where('kind', '=', 'safety')
    .where('deleted_at', 'is', null)
    .orderBy('device')
    .execute()
  const why = whyNot(state, safety.length)
  if (why !== null) throw refuse.nothingToUndo({ id, why })
  return await takeBack(needs, caller, instance, safety, how)
}

function whyNot(state: string, safetySnapshots: number): string | null {
  if (state !== 'done') return `it is ${state}, and only one that is done can be`
  if (safetySnapshots > 0) return null
  return 'it has no safety snapshots: it is not a rollback, they were skipped, or they were deleted'
}

async function takeBack(
  { commands }: UndoNeeds,
  caller: Caller,
  instance: InstanceId | null,
  safety: readonly { id: SnapshotId; volume: VolumeId }[],
  how: How,
): Promise<Started> {
  const [only] = safety
  if (instance === null && only !== undefined) {
    if (how.disks !== null) throw refuse.malformed({ why: "A restore of one volume is taken back whole: leave out 'disks'." })
    return await commands.restoreVolume(caller, only.volume, only.id, {
      skipSafetySnapshot: false,
      confirm: null,
      undo: true,
    })
  }
  const target = { snapshots: safety.map(({ id }) => id) }
  return await commands.rollback(caller, instance!, { target, skipSafetySnapshot: false, ...how })
}
