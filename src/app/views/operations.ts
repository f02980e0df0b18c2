import { sql } from 'kysely'
import type { InstanceId, OperationId } from '../../domain/ids.ts'
import { endedStates, type Operation, type OperationState, operationStates } from '../../domain/operation.ts'
import type { Operations } from '../../ports/operations.ts'
import type { Db } from '../../ports/tables.ts'
import type { Caller } from '../caller.ts'
import type { PolicyName } from '../policy/policy.ts'
import { type Page, paged, scopeOf, type ViewNeeds, visible } from './visible.ts'

export type OperationNeeds = ViewNeeds & { readonly operations: Operations }

export type OperationQuery = Page & {
  readonly all: boolean
  readonly active: boolean
  readonly instance?: InstanceId | undefined
  readonly state?: OperationState | undefined
  readonly kind?: string | undefined
}

const openStates = operationStates.filter((state) => !(endedStates as readonly OperationState[]).includes(state))

export async function listOperations(needs: OperationNeeds, caller: Caller, query: OperationQuery) {
  const rules = { one: 'comeback:operations:list', all: 'comeback:operations:list_all' } as const
  const scope = scopeOf(needs, caller, rules, query.all)
  const { instance, state, kind, after, limit } = query
  const states = state ? [state] : query.active ? openStates : undefined
  const found = await needs.operations.list({
    limit: limit + 1,
    ...(scope === 'all' ? {} : { project: scope }),
    ...(instance ? { instance } : {}),
    ...(states ? { states } : {}),
    ...(kind ? { kind } : {}),
    ...(after ? { before: after as OperationId } : {}),
  })
  return paged(found, limit, ({ id }) => id)
}

/** The operation, if the caller may do this to it. */
export async function operationFor(
  needs: OperationNeeds,
  caller: Caller,
  id: OperationId,
  rule: PolicyName = 'comeback:operations:show',
): Promise<Operation> {
  const operation = await needs.operations.show(id)
  const row = operation && { project_id: operation.origin.projectId }
  visible(needs, caller, 'comeback:operations:show', { what: 'Operation', id, row })
  visible(needs, caller, rule, { what: 'Operation', id, row })
  return operation!
}

export const stepsOf = (db: Db, id: OperationId) =>
  db
    .selectFrom('operation_steps')
    .select(['step', 'state', 'attempt', 'started_at', 'ended_at', 'problem'])
    .where('operation_id', '=', id)
    .orderBy('started_at')
    .execute()

/** Number of the latest event of an operation, or of all; 0 before the first. */
export async function lastEvent(db: Db, id?: OperationId): Promise<number> {
  const { seq } = await db
    .selectFrom('operation_events')
    .select(sql<number>`coalesce(max(seq), 0)`.as('seq'))
    .$if(id !== undefined, (query) => query.where('operation_id', '=', id ?? ('' as OperationId)))
    .executeTakeFirstOrThrow()
  return seq
}
