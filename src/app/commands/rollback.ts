/** Rollback of an instance and revert of a volume: both are the saga replace-heads. */
import type { InstanceId, SnapshotId } from '../../domain/ids.ts'
import { refuse } from '../../domain/refusals.ts'
import type { Tx } from '../../ports/tables.ts'
import type { ReplacedDisk, ReplaceHeadsParams } from '../../sagas/replace-heads.ts'
import { type Caller, originOf } from '../caller.ts'
import type { Commands, RollbackRequest } from '../commands.ts'
import { exclusive, shared } from '../locks.ts'
import { nameReplacement } from '../name-replacement.ts'
import type { Needs } from '../needs.ts'
import { ownedInstance, ownedSnapshot, ownedVolume } from '../owned.ts'
import { examineRollback, type PlannedDisk, preflightOf, targetName } from '../rollback-preflight.ts'
import { stoppedAttachment } from '../stopped-attachment.ts'
import { lockAccount, requireConfirmed, requireVolumeOperation } from '../volume-guards.ts'

type Verbs = Pick<Commands, 'preflightRollback' | 'rollback' | 'restoreVolume'>

const rule = 'os_compute_api:xloud_rollback:rollback'

export const rollbackCommands = (needs: Needs): Verbs => ({
  preflightRollback: (caller, instance, request) => preflightOf(needs.db, needs, caller, instance, request),

  async rollback(caller, instance, request) {
    const found = await ownedInstance(needs.db, caller, instance)
    needs.allow(caller, rule, { project: found.project_id })
    const { id: operation, repeated } = await needs.operations.begin<ReplaceHeadsParams>({
      kind: 'replace-heads',
      origin: originOf(caller),
      digestOf: { instance, request },
      plan: async (tx, take, by) => {
        await take(exclusive('instance', instance))
        const attached = await tx.selectFrom('attachments').select('volume_id').where('instance_id', '=', instance).execute()
        await take(exclusive('volume', ...attached.map(({ volume_id }) => volume_id)))
        await take(shared('snapshot', ...(await targetSnapshots(tx, request))))
        if ('image' in request.target) await take(shared('image', request.target.image))
        const { errors, planned, instance: row } = await examineRollback(tx, needs, caller, instance, request, true)
        if (errors.length > 0 || !row)
          throw refuse.preflightFailed({ message: errors.map(({ message }) => message).join(' '), errors })
        const disks = []
        for (const disk of planned) {
          const to = { from: disk.target.point, target: disk.target.snapshot }
          disks.push(await nameReplacement(tx, disk.disk, to, caller, by, request.skipSafetySnapshot))
        }
        const wasRunning = row.state === 'running'
        const startAfter = request.powerStateAfter === 'on' || (request.powerStateAfter === 'as-before' && wasRunning)
        return {
          params: {
            target: targetName(request),
            instance,
            host: row.host_id,
            wasRunning,
            startAfter,
            stop: request.stop,
            disks,
          },
          instance,
        }
      },
    })
    return { operation, repeated }
  },

  async restoreVolume(caller, id, snapshot, { skipSafetySnapshot, confirm, undo }) {
    const found = await ownedVolume(needs.db, caller, id)
    needs.allow(caller, 'volume:revert_to_snapshot', { project: found.project_id })
    const { id: operation } = await needs.operations.begin<ReplaceHeadsParams>({
      kind: 'replace-heads',
      origin: originOf(caller),
      digestOf: { id, snapshot, skipSafetySnapshot },
      plan: async (tx, take, by) => {
        await lockAccount(tx, caller)
        const attached = await tx.selectFrom('attachments').select('instance_id').where('volume_id', '=', id).executeTakeFirst()
        if (attached) await take(exclusive('instance', attached.instance_id))
        await take([...exclusive('volume', id), ...shared('snapshot', snapshot)])
        const { planned, instance, device } = await planRestore(tx, caller, id, snapshot)
        requireConfirmed('volume', planned.disk.name, confirm)
        if (!undo) await requireVolumeOperation(tx, needs, caller, [id], 'restore')
        const to = { from: planned.target.point, target: snapshot }
        const disk = await nameReplacement(tx, planned.disk, to, caller, by, skipSafetySnapshot)
        const stop = { mode: 'hard', graceSeconds: 0 } as const
        const off = { instance, host: null, wasRunning: false, startAfter: false }
        return {
          params: { target: snapshot, ...off, stop, disks: [{ ...disk, device }] },
          instance,
          ...(undo ? {} : { volumeOperation: { volume: id, name: 'restore' } }),
        }
      },
    })
    return { operation }
  },
})

async function targetSnapshots(tx: Tx, { target }: RollbackRequest): Promise<readonly SnapshotId[]> {
  if ('snapshots' in target) return target.snapshots
  const image = await tx.selectFrom('images').select('snapshot_of').where('id', '=', target.image).executeTakeFirst()
  return image?.snapshot_of?.disks.map(({ snapshot }) => snapshot) ?? []
}

type PlannedRestore = {
  readonly planned: PlannedDisk
  readonly instance: InstanceId | null
  readonly device: string | null
}

/** No running machine may write the volume, and the snapshot must be one of its own; any of them, not only the latest. */
async function planRestore(tx: Tx, caller: Caller, id: ReplacedDisk['volume'], snapshot: SnapshotId): Promise<PlannedRestore> {
  const volume = await ownedVolume(tx, caller, id)
  const attached = await stoppedAttachment(tx, caller, id)
  if (volume.state !== 'ready') throw refuse.revertWrongState({ id, snapshot, state: volume.state })
  const row = await ownedSnapshot(tx, caller, snapshot)
  if (row.volume_id !== id) throw refuse.malformed({ why: `Snapshot ${snapshot} is not one of volume ${id}.` })
  if (row.state !== 'available' || !row.point_id) throw refuse.snapshotUnusable()
  const { layer_id: layer } = await tx
    .selectFrom('points')
    .select('layer_id')
    .where('id', '=', row.point_id)
    .executeTakeFirstOrThrow()
  const { pool_id: pool, head_layer_id: head, size_bytes: sizeBytes, name, generation } = volume
  const planned: PlannedDisk = {
    disk: { device: attached?.device ?? 'volume', boot_index: null, volume: id, name, pool, head, sizeBytes, generation },
    target: {
      volume: id,
      snapshot,
      bootIndex: null,
      sizeBytes: row.size_bytes,
      point: { layer, point: row.point_id },
      usable: true,
    },
  }
  return { planned, instance: attached?.instance ?? null, device: attached?.device ?? null }
}
