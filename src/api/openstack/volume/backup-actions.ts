/** `POST /backups/{id}/restore`, and `POST /backups/{id}/action` with the one action that there is. */
import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { changeBackup } from '../../../app/backups.ts'
import type { Caller } from '../../../app/caller.ts'
import { settled } from '../../../app/outcome.ts'
import { type BackupRow, findBackup } from '../../../app/views/backups.ts'
import { findVolume } from '../../../app/volumes.ts'
import { refuse } from '../../../domain/refusals.ts'
import { read } from '../../http/bodies.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { callerOf } from '../../http/request.ts'
import { printable } from '../names.ts'
import { inCinderWords, requireRestorable } from './backup-words.ts'
import { gibOf, volumeStatus } from './views.ts'

type ById = { Params: { id: string } }

const restoration = z.strictObject({
  restore: z.strictObject({ volume_id: z.uuid().nullish(), name: printable(255, 0).nullish() }).nullable(),
})
const words = z.enum(['available', 'error'], { message: 'Only available and error can be set' })
const resetStatus = z.strictObject({ 'os-reset_status': z.strictObject({ status: words }) })

export function backupActions(app: FastifyInstance, needs: ApiNeeds): void {
  app.post<ById>('/v3/backups/:id/restore', async (request, reply) => {
    request.audited.action = 'backup:restore'
    const caller = callerOf(request)
    const backup = await findBackup(needs, caller, request.params.id, 'backup:restore')
    const { volume_id, name } = read(restoration, request.body).restore ?? {}
    const { operation, ...answer } = await inCinderWords(
      'restore',
      volume_id ? restoreTo(needs, caller, backup, volume_id) : restoreToNew(needs, caller, backup, name ?? null),
    )
    request.audited.operation = operation
    await settled(needs.operations, operation)
    return reply.code(202).send({ restore: { backup_id: backup.id, ...answer } })
  })

  app.post<ById>('/v3/backups/:id/action', async (request, reply) => {
    const [action = ''] = Object.keys(read(z.record(z.string(), z.unknown()), request.body))
    if (action !== 'os-reset_status') throw refuse.malformed({ why: `There is no such action: ${action.slice(0, 60)}` })
    request.audited.action = action
    const rule = 'volume_extension:backup_admin_actions:reset_status'
    await findBackup(needs, callerOf(request), request.params.id, rule)
    const { status } = read(resetStatus, request.body)['os-reset_status']
    await changeBackup(needs, callerOf(request), request.params.id, rule, ({ state, root_hash }) => {
      if (state === 'creating' || state === 'deleting' || (status === 'available' && root_hash === null))
        throw refuse.malformed({
          why: `Invalid backup: Backup ${request.params.id} is ${state} and holds nothing that could be called ${status}.`,
        })
      return { state: status }
    })
    return reply.code(202).send()
  })
}

async function restoreTo(needs: ApiNeeds, caller: Caller, backup: BackupRow, id: string) {
  const volume = await findVolume(needs, caller, id, 'volume:get')
  requireRestorable(volumeStatus(volume), gibOf(volume.size_bytes), gibOf(backup.size_bytes))
  const { operation } = await needs.commands.restoreBackup(caller, volume.id, backup.id, {
    skipSafetySnapshot: false,
    confirm: null,
  })
  return { operation, volume_id: volume.id, volume_name: volume.name }
}

async function restoreToNew(needs: ApiNeeds, caller: Caller, backup: BackupRow, asked: string | null) {
  const name = asked ?? `restore_backup_${backup.id}`
  const { operation, volume } = await needs.commands.createVolumeFromBackup(caller, {
    backup: backup.id,
    name,
    description: 'auto-created_from_restore_from_backup',
    sizeBytes: null,
    metadata: {},
  })
  return { operation, volume_id: volume, volume_name: name }
}
