/** Who asks: the facts of a validated token, and of the request. */
import type { ProjectId, RequestId, UserId } from '../domain/ids.ts'
import type { Origin } from '../domain/operation.ts'
import type { Role } from '../ports/tables.ts'

export type { Role }

export type Caller = {
  readonly user: UserId
  readonly userName: string
  readonly project: ProjectId
  readonly projectName: string
  readonly roles: readonly Role[]
  readonly requestId: RequestId
  readonly idempotencyKey?: string
}

export const isAdmin = (caller: Caller): boolean => caller.roles.includes('admin')

export const originOf = (caller: Caller): Origin => ({
  requestId: caller.requestId,
  userId: caller.user,
  projectId: caller.project,
  ...(caller.idempotencyKey === undefined ? {} : { idempotencyKey: caller.idempotencyKey }),
})

/** For a request that starts several operations: each gets a key of its own, so that a retry finds each of them. */
export const partOf = (caller: Caller, part: string): Caller =>
  caller.idempotencyKey === undefined ? caller : { ...caller, idempotencyKey: `${caller.idempotencyKey} ${part}` }
