/** Backups of volumes and of all disks of an instance. Taking the points and writing them down are operations of their own. */
import { type BackupId, newId, type OperationId, type VolumeId } from '../../domain/ids.ts'
import { requireInstanceFor } from '../../domain/instance.ts'
import { refuse } from '../../domain/refusals.ts'
import type { StartAlso, TakeLocks } from '../../ports/operations.ts'
import type { Tx } from '../../ports/tables.ts'
import type { DeleteBackupParams } from '../../sagas/delete-backup.ts'
import { disksOf } from '../../sagas/parts/machine.ts'
import type { PointedDisk, TakePointsParams } from '../../sagas/take-points.ts'
import type { WriteBackupParams } from '../../sagas/write-backup.ts'
import { type BackupSource, keepSnapshotPoint, nameBackup, sourceNow } from '../backup-naming.ts'
import { type Caller, originOf } from '../caller.ts'
import { chooseDisks } from '../choose-disks.ts'
import type { BackupCommands, BackupRequest } from '../commands.ts'
import { exclusive, shared } from '../locks.ts'
import type { Needs } from '../needs.ts'
import { ownedBackup, ownedInstance, ownedSnapshot, ownedVolume } from '../owned.ts'
import { paramsOf } from '../params-of.ts'
import { timestamp } from '../timestamp.ts'
import { moverHost } from '../vault-choice.ts'
import { lockAccount, requireConfirmed, requireVolumeOperation } from '../volume-guards.ts'
import { requireSpace } from './volumes.ts'

type Verbs = Pick<BackupCommands, 'createBackup' | 'createInstanceBackups' | 'deleteBackup'>

export const backupCommands = (needs: Needs): Verbs => ({
  async createBackup(caller, request) {
    const found = await ownedVolume(needs.db, caller, request.volume)
    needs.allow(caller, 'backup:create', { project: found.project_id })
    let backup = newId<BackupId>()
    const started = await needs.operations.begin<WriteBackupParams>({
      kind: 'write-backup',
      origin: originOf(caller),
      digestOf: request,
      plan: async (tx, take, by, also) => {
        backup = newId<BackupId>()
        await lockAccount(tx, caller)
        const source = request.snapshot
          ? await pointOfSnapshot(tx, needs, caller, request, backup, by)
          : await pointOfVolume(tx, needs, also, caller, request, backup)
        return await nameBackup(tx, needs, take, caller, { ...request, backup, by, source, name: nameOf(request) })
      },
    })
    if (started.repeated) backup = (await paramsOf<WriteBackupParams>(needs, started.id)).backup
    return { backup, operation: started.id }
  },

  async createInstanceBackups(caller, request) {
    const found = await ownedInstance(needs.db, caller, request.instance)
    needs.allow(caller, 'backup:create', { project: found.project_id })
    let backups: { backup: BackupId; volume: VolumeId; operation: OperationId }[] = []
    const started = await needs.operations.begin<TakePointsParams>({
      kind: 'take-points',
      origin: originOf(caller),
      digestOf: request,
      plan: async (tx, take, by, also) => {
        await lockAccount(tx, caller)
        const plan = await pointsOfInstance(tx, needs, take, caller, request, by)
        backups = []
        for (const { backup, source } of plan.sources) {
          const operation = await also<WriteBackupParams>({
            kind: 'write-backup',
            plan: (inner, takeToo, itself) =>
              nameBackup(inner, needs, takeToo, caller, { ...request, backup, by: itself, source, name: nameOf(request) }),
          })
          backups.push({ backup, volume: source.volume.id, operation })
        }
        return { params: plan.params, instance: request.instance }
      },
    })
    return { backups: started.repeated ? await backupsOf(needs, started.id) : backups }
  },

  async deleteBackup(caller, id, { confirm }) {
    const request = { kind: 'delete-backup', origin: originOf(caller), digestOf: { id } }
    const before = await needs.operations.startedBefore(request)
    if (before) return { operation: before }
    const found = await ownedBackup(needs.db, caller, id)
    needs.allow(caller, 'backup:delete', { project: found.project_id })
    const { id: operation } = await needs.operations.begin<DeleteBackupParams>({
      ...request,
      plan: async (tx, take) => {
        await take(exclusive('backup', id))
        const row = await ownedBackup(tx, caller, id)
        requireConfirmed('backup', row.name, confirm)
        const { state, volume_id: volume, vault_id: vault, project_id: project } = row
        if (state !== 'available' && state !== 'error') throw refuse.backupUnusable({ id, state })
        await take(shared('archive', volume))
        const host = await moverHost(tx, { vault, silentSeconds: needs.settings.hostSilentSeconds })
        await tx.updateTable('backups').set({ state: 'deleting', updated_at: new Date() }).where('id', '=', id).execute()
        return { params: { backup: id, volume, project, vault, host, was: state }, instance: null }
      },
    })
    return { operation }
  },
})

const nameOf = ({ name }: { readonly name: string | null }): string => name ?? `backup-${timestamp()}`

type Begun = BackupSource & { readonly moment: OperationId | null }

/** Takes the volume's point, by an operation that this one waits for. */
async function pointOfVolume(
  tx: Tx,
  needs: Needs,
  also: StartAlso,
  caller: Caller,
  request: BackupRequest,
  backup: BackupId,
): Promise<Begun> {
  let source: BackupSource | undefined
  const moment = await also<TakePointsParams>({
    kind: 'take-points',
    plan: async (_tx, take, by) => {
      const attached = await tx
        .selectFrom('attachments')
        .select(['instance_id', 'device'])
        .where('volume_id', '=', request.volume)
        .executeTakeFirst()
      await take([
        ...exclusive('instance', ...(attached ? [attached.instance_id] : [])),
        ...exclusive('volume', request.volume),
      ])
      const volume = await ownedVolume(tx, caller, request.volume)
      if (volume.state !== 'ready') throw refuse.volumeWrongState({ id: volume.id, needs: 'available', state: volume.state })
      const machine = attached ? await ownedInstance(tx, caller, attached.instance_id) : null
      await requireVolumeOperation(tx, needs, caller, [volume.id], 'backup')
      if (machine && !request.force) throw refuse.volumeWrongState({ id: volume.id, needs: 'available', state: 'in-use' })
      await requireSpace(tx, needs, volume.pool_id)
      const where =
        machine && attached ? { id: machine.id, name: machine.name, device: attached.device, host: machine.host_id } : null
      const named = await sourceNow(tx, caller, by, volume, where, backup, nameOf(request))
      source = named.source
      return { params: pointsParams(needs, machine, request, [named.disk]), instance: machine?.id ?? null }
    },
  })
  return { ...source!, moment }
}

/** A snapshot's point is there already; the backup names it too, so that it stays when the snapshot goes. */
async function pointOfSnapshot(
  tx: Tx,
  needs: Needs,
  caller: Caller,
  request: BackupRequest,
  backup: BackupId,
  by: OperationId,
): Promise<Begun> {
  const volume = await ownedVolume(tx, caller, request.volume)
  await requireVolumeOperation(tx, needs, caller, [volume.id], 'backup')
  const snapshot = await ownedSnapshot(tx, caller, request.snapshot!)
  if (snapshot.volume_id !== volume.id)
    throw refuse.malformed({ why: `Snapshot ${snapshot.id} is not one of volume ${volume.id}.` })
  if (snapshot.state !== 'available' || !snapshot.point_id) throw refuse.snapshotUnusable()
  const source = await keepSnapshotPoint(tx, by, volume, { ...snapshot, point_id: snapshot.point_id }, backup, nameOf(request))
  return { ...source, moment: null }
}

type InstanceRequest = Parameters<BackupCommands['createInstanceBackups']>[1]

async function pointsOfInstance(
  tx: Tx,
  needs: Needs,
  take: TakeLocks,
  caller: Caller,
  request: InstanceRequest,
  by: OperationId,
): Promise<{ params: TakePointsParams; sources: { backup: BackupId; source: Begun }[] }> {
  await take(exclusive('instance', request.instance))
  const machine = await ownedInstance(tx, caller, request.instance)
  requireInstanceFor('createBackup', machine)
  const chosen = chooseDisks(await disksOf(tx, machine.id), request.disks)
  const ids = chosen.map(({ volume }) => volume)
  await take(exclusive('volume', ...ids))
  await requireVolumeOperation(tx, needs, caller, ids, 'backup')
  const disks: PointedDisk[] = []
  const sources: { backup: BackupId; source: Begun }[] = []
  for (const { volume: id, device } of chosen) {
    const volume = await ownedVolume(tx, caller, id)
    if (volume.state !== 'ready') throw refuse.volumeWrongState({ id, needs: 'in-use', state: volume.state })
    await requireSpace(tx, needs, volume.pool_id)
    const backup = newId<BackupId>()
    const where = { id: machine.id, name: machine.name, device, host: machine.host_id }
    const named = await sourceNow(tx, caller, by, volume, where, backup, nameOf(request))
    disks.push(named.disk)
    sources.push({ backup, source: { ...named.source, moment: by } })
  }
  return { params: pointsParams(needs, machine, request, disks), sources }
}

type Machine = Awaited<ReturnType<typeof ownedInstance>>

const pointsParams = (
  needs: Needs,
  machine: Machine | null,
  { consistency }: Pick<BackupRequest, 'consistency'>,
  disks: readonly PointedDisk[],
): TakePointsParams => ({
  instance: machine?.id ?? null,
  host: machine?.host_id ?? null,
  running: machine?.state === 'running',
  image: null,
  consistency,
  freezeSeconds: needs.settings.freezeSeconds,
  disks,
})

/** What the same request has started before. */
async function backupsOf({ db }: Needs, moment: OperationId) {
  const rows = await db
    .selectFrom('operations')
    .select(['id', 'params'])
    .where('waits_for', '=', moment)
    .orderBy('created_at')
    .execute()
  return rows.map(({ id, params }) => {
    const { backup, volume } = params as WriteBackupParams
    return { backup, volume, operation: id }
  })
}
