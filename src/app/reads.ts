/** What all reads need; who may see what is decided in views/visible.ts. */
import type { ProjectId } from '../domain/ids.ts'
import type { Operations } from '../ports/operations.ts'
import type { Db } from '../ports/tables.ts'
import type { Policy } from './policy/policy.ts'

export type Reads = { readonly db: Db; readonly policy: Policy; readonly operations: Pick<Operations, 'holders'> }

/** Whose things a list shows: one project's, or null for all. */
export type Whose = ProjectId | null
