import type { InstanceId, VolumeId } from '../domain/ids.ts'
import { refuse } from '../domain/refusals.ts'
import type { Tx } from '../ports/tables.ts'
import type { Caller } from './caller.ts'
import { requireUnlocked } from './instance-changes.ts'

/**
 * The instance that a volume is a disk of, where it may get another content: no running machine may write it, and what its
 * owner has locked stays as it is. Null: it is attached to nothing.
 */
export async function stoppedAttachment(
  tx: Tx,
  caller: Caller,
  volume: VolumeId,
): Promise<{ readonly instance: InstanceId; readonly device: string } | null> {
  const attached = await tx
    .selectFrom('attachments as a')
    .innerJoin('instances as i', 'i.id', 'a.instance_id')
    .select(['i.id', 'i.state', 'i.locked', 'a.device'])
    .where('a.volume_id', '=', volume)
    .executeTakeFirst()
  if (!attached) return null
  requireUnlocked(caller, attached)
  if (attached.state !== 'stopped') throw refuse.restoreWhileRunning({ instance: attached.id })
  return { instance: attached.id, device: attached.device }
}
