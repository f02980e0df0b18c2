/** What was done to an instance, under the names that Nova has for it. */
import type { InstanceId, OperationId, ProjectId, UserId } from '../domain/ids.ts'
import type { Db } from '../ports/tables.ts'

const actionOf: Readonly<Record<string, string>> = {
  'create-instance': 'create',
  'start-instance': 'start',
  'stop-instance': 'stop',
  'reboot-instance': 'reboot',
  'delete-instance': 'delete',
  'take-points': 'createImage',
  'replace-heads': 'xloud_rollback',
  'attach-volume': 'attach_volume',
  'detach-volume': 'detach_volume',
  'extend-volume': 'extend_volume',
}

export type ActionRow = {
  readonly operation: OperationId
  readonly action: string
  readonly instance: InstanceId
  readonly requestId: string
  readonly user: UserId | null
  readonly project: ProjectId | null
  readonly startedAt: Date
  readonly updatedAt: Date
  /** `Error` when it did not succeed. */
  readonly message: string | null
}

/** Newest first. */
export async function actionsOf(db: Db, instance: InstanceId): Promise<ActionRow[]> {
  const rows = await db
    .selectFrom('operations')
    .selectAll()
    .where('instance_id', '=', instance)
    .orderBy('created_at', 'desc')
    .execute()
  return rows.map((row) => ({
    operation: row.id,
    action:
      row.kind === 'take-points' && !('image' in row.params && row.params.image)
        ? 'snapshot_volume'
        : (actionOf[row.kind] ?? row.kind),
    instance,
    requestId: row.request_id,
    user: row.user_id,
    project: row.project_id,
    startedAt: row.created_at,
    updatedAt: row.ended_at ?? row.started_at ?? row.created_at,
    message: row.problem ? 'Error' : null,
  }))
}

export const eventsOf = (db: Db, operation: OperationId) =>
  db.selectFrom('operation_steps').selectAll().where('operation_id', '=', operation).orderBy('started_at', 'desc').execute()
