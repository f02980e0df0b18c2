import type { FastifyInstance } from 'fastify'
import type { BackupView } from '../../../contract/backups.ts'
import { endpoints } from '../../../contract/index.ts'
import { changeBackup } from '../../app/backups.ts'
import { type BackupRow, failReasonOf, findBackup, listBackups, shownState } from '../../app/views/backups.ts'
import type { NativeNeeds } from './needs.ts'
import { serve, serveOperation } from './serve.ts'
import { moment } from './wire.ts'

export function backupRoutes(app: FastifyInstance, needs: NativeNeeds): void {
  const { commands } = needs

  serve(app, endpoints.listBackups, async ({ caller, query }) => {
    const { all_projects, ...filter } = query
    const { items, next } = await listBackups(needs, caller, { ...filter, all: all_projects === 'true' })
    return { items: items.map(viewOf), next }
  })

  serve(app, endpoints.showBackup, async ({ caller, params }) => viewOf(await findBackup(needs, caller, params.backup)))

  serveOperation(app, needs, endpoints.createBackup, async ({ caller, body }) => {
    const { name, snapshot, ...rest } = body
    return commands.createBackup(caller, { ...rest, name: name ?? null, snapshot: snapshot ?? null })
  })

  serve(app, endpoints.backUpInstance, async ({ caller, params, body, request }) => {
    const { name, disks, ...rest } = body
    const asked = { ...rest, instance: params.instance, name: name ?? null, disks: disks ?? null }
    const { backups } = await commands.createInstanceBackups(caller, asked)
    const [first] = backups
    if (first) request.audited.operation = first.operation
    return { backups: backups.map((one) => ({ ...one })) }
  })

  serveOperation(app, needs, endpoints.deleteBackup, async ({ caller, params, query }) =>
    commands.deleteBackup(caller, params.backup, query),
  )

  serve(app, endpoints.changeBackup, async ({ caller, params, body }) => {
    const given = Object.fromEntries(Object.entries(body).filter(([, value]) => value !== undefined))
    return viewOf(await changeBackup(needs, caller, params.backup, 'backup:update', () => given))
  })
}

const viewOf = (row: BackupRow): BackupView => ({
  id: row.id,
  name: row.name,
  description: row.description,
  state: shownState(row),
  fail_reason: failReasonOf(row),
  volume: row.volume_id,
  volume_name: row.volume_name,
  volume_exists: row.present_volume !== null,
  instance: row.facts.instance,
  vault: row.vault_id,
  vault_name: row.vault_name,
  size_bytes: row.size_bytes,
  read_bytes: row.read_bytes,
  stored_bytes: row.stored_bytes,
  changes_since: row.base_backup_id,
  read_all_because: row.full_because,
  root_hash: row.root_hash,
  snapshot: row.source_snapshot_id,
  consistency: row.consistency,
  consistency_because: row.consistency_why,
  damage: row.damage,
  verified_at: moment(row.verified_at),
  project: row.project_id,
  operation: row.operation_id,
  metadata: row.metadata,
  created_at: row.created_at.toISOString(),
})
