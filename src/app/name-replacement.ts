/** Names what takes the place of a volume's head: the new layer, the safety snapshot of the old one, and its point. */
import { type LayerId, newId, type OperationId, type PointId, type SnapshotId } from '../domain/ids.ts'
import type { PointRef } from '../ports/storage-driver.ts'
import type { Tx } from '../ports/tables.ts'
import type { ReplacedDisk } from '../sagas/replace-heads.ts'
import type { Caller } from './caller.ts'
import { timestamp } from './timestamp.ts'

export type Replaced = Pick<ReplacedDisk, 'volume' | 'pool' | 'head' | 'sizeBytes'> & { readonly device: string }

/** `target`: the snapshot or backup that it goes to. Without `from` the new layer is blank, to be filled. */
export async function nameReplacement(
  tx: Tx,
  { volume, pool, head, sizeBytes, device }: Replaced,
  { from, target }: { readonly from: PointRef | null; readonly target: string },
  caller: Caller,
  by: OperationId,
  skipSafety: boolean,
): Promise<ReplacedDisk> {
  const next = newId<LayerId>()
  const layer = {
    id: next,
    pool_id: pool,
    parent_point_id: from?.point ?? null,
    size_bytes: sizeBytes,
    state: 'making' as const,
    made_by: by,
  }
  await tx.insertInto('layers').values(layer).execute()
  const owner = await tx.selectFrom('volumes').select('project_id').where('id', '=', volume).executeTakeFirstOrThrow()
  const safety = {
    snapshot: newId<SnapshotId>(),
    point: newId<PointId>(),
    name: `_xloud_safety_${caller.requestId}_${device}_${timestamp()}`,
    metadata: {
      xloud_safety: 'true',
      xloud_request_id: caller.requestId,
      xloud_device: device,
      xloud_rolled_back_to: target,
    },
  }
  return {
    volume,
    project: owner.project_id,
    user: caller.user,
    pool,
    device,
    head,
    next,
    from,
    sizeBytes,
    safety: skipSafety ? null : safety,
  }
}
