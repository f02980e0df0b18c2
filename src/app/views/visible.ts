/** What a caller may look at: the rows of the own project, by policy those of all. */
import type { ProjectId } from '../../domain/ids.ts'
import { refuse } from '../../domain/refusals.ts'
import type { Db } from '../../ports/tables.ts'
import type { Caller } from '../caller.ts'
import type { Policy, PolicyName } from '../policy/policy.ts'

export type ViewNeeds = { readonly db: Db; readonly policy: Policy }

export type Scope = ProjectId | 'all'

export function scopeOf(
  { policy }: ViewNeeds,
  caller: Caller,
  rules: { one: PolicyName; all: PolicyName },
  all: boolean,
): Scope {
  policy.require(caller, all ? rules.all : rules.one)
  return all ? 'all' : caller.project
}

/** The row, if the caller may see it. What belongs to another project is not there. */
export function visible<Row extends { readonly project_id: ProjectId | null }>(
  { policy }: ViewNeeds,
  caller: Caller,
  rule: PolicyName,
  { what, id, row }: { what: string; id: string; row: Row | undefined | null },
): Row {
  if (!row) throw refuse.notFound({ what, id })
  const { project_id } = row
  if (policy.allows(caller, rule, project_id === null ? {} : { project_id })) return row
  throw project_id === caller.project ? refuse.forbidden({ rule }) : refuse.notFound({ what, id })
}

export type Page = { readonly limit: number; readonly after?: string | undefined }

/** Splits what a query for one row more than the page gave. */
export function paged<Row>(rows: readonly Row[], limit: number, marker: (row: Row) => string) {
  const items = rows.slice(0, limit)
  const last = items.at(-1)
  return { items, next: rows.length > limit && last !== undefined ? marker(last) : null }
}
