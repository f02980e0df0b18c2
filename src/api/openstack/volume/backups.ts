import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { changeBackup } from '../../../app/backups.ts'
import { settled } from '../../../app/outcome.ts'
import type { Keys } from '../../../app/paging.ts'
import { type BackupRow, findBackup, hasAvailableBackup, listAllBackups } from '../../../app/views/backups.ts'
import { findVolume } from '../../../app/volumes.ts'
import { asId, type SnapshotId } from '../../../domain/ids.ts'
import { refuse } from '../../../domain/refusals.ts'
import { read } from '../../http/bodies.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { callerOf } from '../../http/request.ts'
import { flag } from '../flags.ts'
import { refuseNewer, requireMicroversion } from '../microversions.ts'
import { description, labels, printable } from '../names.ts'
import { type Query, queryOf } from '../query.ts'
import { evenIfGone } from '../repeats.ts'
import { backupBrief, backupStatus, backupView } from './backup-views.ts'
import { inCinderWords } from './backup-words.ts'
import { cinderPage, nameMatches, whoseOf } from './paging.ts'

type ById = { Params: { id: string } }

const name = printable(255, 0)

const creation = z.strictObject({
  backup: z.strictObject({
    volume_id: z.uuid(),
    container: z.null({ message: 'The vault is that of the host: a container cannot be chosen' }).optional(),
    name: name.nullish(),
    description: description.nullish(),
    incremental: flag.nullish(),
    force: flag.nullish(),
    snapshot_id: z.uuid().nullish(),
    metadata: labels.nullish(),
    availability_zone: z.literal('nova', { message: 'There is one availability zone: nova' }).nullish(),
  }),
})
const change = z.strictObject({
  backup: z.strictObject({ name: name.nullish(), description: description.nullish(), metadata: labels.optional() }),
})

const keys: Keys<BackupRow> = {
  created_at: ({ created_at }) => created_at,
  updated_at: ({ updated_at }) => updated_at,
  name: ({ name }) => name,
  display_name: ({ name }) => name,
  size: ({ size_bytes }) => size_bytes,
  status: backupStatus,
  id: ({ id }) => id,
  volume_id: ({ volume_id }) => volume_id,
  availability_zone: () => 'nova',
}

export function backups(app: FastifyInstance, needs: ApiNeeds): void {
  const { commands, db, policy } = needs

  for (const [path, view] of [
    ['/v3/backups', backupBrief],
    ['/v3/backups/detail', backupView],
  ] as const)
    app.get(path, async (request) => {
      policy.require(callerOf(request), 'backup:get_all')
      const query = queryOf(request)
      const found = (await listAllBackups(db, whoseOf(request, needs))).filter((backup) => matches(backup, query))
      const { items, around } = cinderPage(request, needs, 'backups', found, keys)
      return { backups: items.map((backup) => view(request, needs, backup)), ...around }
    })

  app.post('/v3/backups', async (request, reply) => {
    request.audited.action = 'backup:create'
    const caller = callerOf(request)
    policy.require(caller, 'backup:create')
    const { backup } = read(creation, request.body)
    refuseNewer(request, backup, { metadata: 43, availability_zone: 51 })
    const { id: volume } = await findVolume(needs, caller, backup.volume_id, 'volume:get')
    if (backup.incremental && !(await hasAvailableBackup(db, volume)))
      throw refuse.malformed({ why: 'Invalid backup: No backups available to do an incremental backup.' })
    const started = await commands.createBackup(caller, {
      volume,
      name: backup.name ?? '',
      description: backup.description ?? null,
      metadata: backup.metadata ?? {},
      snapshot: backup.snapshot_id ? asId<SnapshotId>(backup.snapshot_id) : null,
      consistency: 'crash',
      force: backup.force ?? false,
      read: backup.incremental ? 'auto' : 'full',
    })
    request.audited.operation = started.operation
    request.audited.target = started.backup
    await settled(needs.operations, started.operation)
    return reply.code(202).send({ backup: backupBrief(request, needs, await findBackup(needs, caller, started.backup)) })
  })

  app.get<ById>('/v3/backups/:id', async (request) => ({
    backup: backupView(request, needs, await findBackup(needs, callerOf(request), request.params.id)),
  }))

  app.put<ById>('/v3/backups/:id', async (request) => {
    request.audited.action = 'backup:update'
    requireMicroversion(request, 9)
    const caller = callerOf(request)
    await findBackup(needs, caller, request.params.id, 'backup:update')
    const { backup } = read(change, request.body)
    refuseNewer(request, backup, { metadata: 43 })
    const changed = await changeBackup(needs, caller, request.params.id, 'backup:update', () => ({
      ...(backup.name == null ? {} : { name: backup.name }),
      ...(backup.description === undefined ? {} : { description: backup.description }),
      ...(backup.metadata ? { metadata: backup.metadata } : {}),
    }))
    return { backup: backupBrief(request, needs, changed) }
  })

  app.delete<ById>('/v3/backups/:id', async (request, reply) => {
    request.audited.action = 'backup:delete'
    const caller = callerOf(request)
    const id = await evenIfGone(caller, request.params.id, findBackup(needs, caller, request.params.id, 'backup:delete'))
    const { operation } = await inCinderWords('delete', commands.deleteBackup(caller, id, { confirm: null }))
    request.audited.operation = operation
    await settled(needs.operations, operation)
    return reply.code(202).send()
  })
}

function matches(backup: BackupRow, query: Query): boolean {
  const is = (key: string, value: string) => query.one(key) === undefined || query.one(key) === value
  return nameMatches(backup.name, query) && is('status', backupStatus(backup)) && is('volume_id', backup.volume_id)
}
