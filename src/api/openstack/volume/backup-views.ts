/** Cinder's forms of backups. */
import type { FastifyRequest } from 'fastify'
import { type BackupRow, shownState } from '../../../app/views/backups.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { callerOf } from '../../http/request.ts'
import { speaks } from '../microversions.ts'
import { gibOf, linksOf, microseconds } from './views.ts'

type Needs = Pick<ApiNeeds, 'policy' | 'settings'>

const statusOf = {
  pending: 'creating',
  creating: 'creating',
  available: 'available',
  restoring: 'restoring',
  deleting: 'deleting',
  failed: 'error',
} as const satisfies Record<ReturnType<typeof shownState>, string>

export const backupStatus = (backup: BackupRow): string => statusOf[shownState(backup)]

export const backupBrief = (request: FastifyRequest, { settings }: Needs, { id, name, project_id }: BackupRow) => ({
  id,
  name,
  links: linksOf(request, settings.publicUrl, project_id, 'backups', id),
})

/**
 * A backup is incremental where only changes were read for it; none depends on another for all that. Objects are not counted:
 * they are shared.
 */
export function backupView(request: FastifyRequest, needs: Needs, backup: BackupRow) {
  const { project_id } = backup
  const owner = needs.policy.allows(callerOf(request), 'backup:backup_project_attribute', { project_id })
  return {
    ...backupBrief(request, needs, backup),
    description: backup.description,
    status: backupStatus(backup),
    fail_reason: backup.fail_reason ?? backup.damage,
    volume_id: backup.volume_id,
    snapshot_id: backup.source_snapshot_id,
    size: gibOf(backup.size_bytes),
    object_count: 0,
    container: backup.vault_name,
    availability_zone: 'nova',
    is_incremental: backup.base_backup_id !== null,
    has_dependent_backups: false,
    data_timestamp: microseconds(new Date(backup.facts.createdAt)),
    created_at: microseconds(backup.created_at),
    updated_at: microseconds(backup.updated_at),
    ...(speaks(request, 18) && owner ? { 'os-backup-project-attr:project_id': project_id } : {}),
    ...(speaks(request, 43) ? { metadata: backup.metadata } : {}),
    ...(speaks(request, 56) && owner ? { user_id: backup.user_id } : {}),
  }
}
