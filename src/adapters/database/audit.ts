import type { OperationId } from '../../domain/ids.ts'
import type { Origin } from '../../domain/operation.ts'
import type { Db, Tx } from '../../ports/tables.ts'

export type AuditEntry = {
  readonly origin: Origin
  /** Policy name, or the route. */
  readonly action: string
  readonly target: string | null
  /** `accepted`, or a refusal's code. */
  readonly outcome: string
  readonly operation: OperationId | null
}

/** Who asked for what and was told what; in the caller's transaction where what was done should stand or fall with it. */
export async function writeAudit(db: Db | Tx, { origin, action, target, outcome, operation }: AuditEntry): Promise<void> {
  await db
    .insertInto('audit_log')
    .values({
      request_id: origin.requestId,
      user_id: origin.userId,
      project_id: origin.projectId,
      action,
      target,
      outcome,
      operation_id: operation,
    })
    .execute()
}
