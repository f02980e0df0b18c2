/** Restores from backups: in place (the saga replace-heads) and to a new volume (create-volume), in any pool of any kind. */
import { type BackupId, newId, type PoolId, type VolumeId } from '../../domain/ids.ts'
import { refuse } from '../../domain/refusals.ts'
import type { TakeLocks } from '../../ports/operations.ts'
import type { Tx } from '../../ports/tables.ts'
import type { CreateVolumeParams } from '../../sagas/create-volume.ts'
import type { Fill } from '../../sagas/parts/fill.ts'
import type { ReplaceHeadsParams } from '../../sagas/replace-heads.ts'
import { type Caller, originOf } from '../caller.ts'
import type { BackupCommands } from '../commands.ts'
import { exclusive, shared } from '../locks.ts'
import { nameReplacement } from '../name-replacement.ts'
import type { Needs } from '../needs.ts'
import { ownedBackup, ownedVolume } from '../owned.ts'
import { paramsOf } from '../params-of.ts'
import { requirePlan } from '../plans.ts'
import { stoppedAttachment } from '../stopped-attachment.ts'
import { moverHost } from '../vault-choice.ts'
import { lockAccount, requireConfirmed, requireVolumeOperation } from '../volume-guards.ts'
import { atLeast, defaultPool, insertVolume, requireSpace } from './volumes.ts'

type Verbs = Pick<BackupCommands, 'restoreBackup' | 'createVolumeFromBackup'>

export const restoreCommands = (needs: Needs): Verbs => ({
  async restoreBackup(caller, id, backup, { skipSafetySnapshot, confirm }) {
    const found = await ownedVolume(needs.db, caller, id)
    needs.allow(caller, 'backup:restore', { project: found.project_id })
    const { id: operation } = await needs.operations.begin<ReplaceHeadsParams>({
      kind: 'replace-heads',
      origin: originOf(caller),
      digestOf: { id, backup, skipSafetySnapshot },
      plan: async (tx, take, by) => {
        await lockAccount(tx, caller)
        const attached = await tx.selectFrom('attachments').select('instance_id').where('volume_id', '=', id).executeTakeFirst()
        if (attached) await take(exclusive('instance', attached.instance_id))
        await take(exclusive('volume', id))
        const disk = await stoppedAttachment(tx, caller, id)
        const volume = await ownedVolume(tx, caller, id)
        if (volume.state !== 'ready') throw refuse.volumeWrongState({ id, needs: 'available', state: volume.state })
        const { row, fill } = await usableBackup(tx, needs, take, caller, backup, volume.pool_id)
        requireConfirmed('volume', volume.name, confirm)
        if (row.size_bytes > volume.size_bytes) throw refuse.backupLarger({ backup: row.size_bytes, volume: volume.size_bytes })
        await requireVolumeOperation(tx, needs, caller, [id], 'restore')
        await requireSpace(tx, needs, volume.pool_id)
        const { pool_id: pool, head_layer_id: head, size_bytes: sizeBytes } = volume
        const replaced = { volume: id, pool, head, sizeBytes, device: disk?.device ?? 'volume' }
        const to = { from: null, target: backup }
        const named = await nameReplacement(tx, replaced, to, caller, by, skipSafetySnapshot)
        const instance = disk?.instance ?? null
        const off = { instance, host: null, wasRunning: false, startAfter: false }
        const stop = { mode: 'hard', graceSeconds: 0 } as const
        return {
          params: { target: backup, ...off, stop, disks: [{ ...named, device: disk?.device ?? null, fill }] },
          instance,
          volumeOperation: { volume: id, name: 'restore' },
        }
      },
    })
    return { operation }
  },

  async createVolumeFromBackup(caller, request) {
    needs.allow(caller, 'backup:restore', { project: caller.project })
    needs.allow(caller, 'volume:create', { project: caller.project })
    let volume = newId<VolumeId>()
    const started = await needs.operations.begin<CreateVolumeParams>({
      kind: 'create-volume',
      origin: originOf(caller),
      digestOf: request,
      plan: async (tx, take, by) => {
        const asked = await ownedBackup(tx, caller, request.backup)
        const original = await originalOf(tx, asked.volume_id)
        const pool = request.pool ? await knownPool(tx, request.pool) : (original?.pool ?? (await defaultPool(tx)))
        const { row, fill } = await usableBackup(tx, needs, take, caller, request.backup, pool)
        await requireSpace(tx, needs, pool)
        const plan = request.plan === undefined ? (original?.plan ?? null) : request.plan
        if (plan) await requirePlan(tx, plan)
        const { bootable, imageMetadata, volumeName } = row.facts
        const sizeBytes = atLeast(request.sizeBytes, row.size_bytes)
        const made = { from: null, pool, sizeBytes, imageMetadata, source: null }
        const source = { from: 'backup', backup: row.id } as const
        const name = request.name ?? original?.name ?? volumeName
        const { description, metadata } = request
        const fresh = { name, description, metadata, bootable, plan, source }
        const params = await insertVolume(tx, caller, made, pool, fresh, by)
        volume = params.volume
        await take(exclusive('volume', volume))
        return { params: { ...params, fill }, instance: null }
      },
    })
    if (started.repeated) volume = (await paramsOf<CreateVolumeParams>(needs, started.id)).volume
    return { volume, operation: started.id }
  },
})

/** The volume that was backed up, where it still exists. */
const originalOf = (tx: Tx, volume: VolumeId) =>
  tx
    .selectFrom('volumes')
    .select(['name', 'pool_id as pool', 'plan_id as plan'])
    .where('id', '=', volume)
    .where('deleted_at', 'is', null)
    .executeTakeFirst()

async function knownPool(tx: Tx, id: PoolId): Promise<PoolId> {
  const row = await tx.selectFrom('pools').select('id').where('id', '=', id).executeTakeFirst()
  if (!row) throw refuse.notFound({ what: 'Pool', id })
  return row.id
}

/** The backup, which stays until the restore has ended, and where its data will be moved. */
async function usableBackup(tx: Tx, needs: Needs, take: TakeLocks, caller: Caller, id: BackupId, pool: PoolId) {
  await take(shared('backup', id))
  const row = await ownedBackup(tx, caller, id)
  if (row.state !== 'available' || row.root_hash === null) throw refuse.backupUnusable({ id, state: row.state })
  const { vault_id: vault, volume_id: volume, project_id: project, root_hash: rootHash } = row
  const host = await moverHost(tx, { pool, vault, silentSeconds: needs.settings.hostSilentSeconds })
  const fill: Fill = { vault, host, of: { volume, backup: id, project }, rootHash }
  return { row, fill }
}
