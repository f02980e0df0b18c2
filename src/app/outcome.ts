/** Waiting for an operation on behalf of a client that wants the outcome in its answer. */
import type { OperationId } from '../domain/ids.ts'
import type { Operation } from '../domain/operation.ts'
import { refusalOf, refuse } from '../domain/refusals.ts'
import type { Operations } from '../ports/operations.ts'

/** Resolves when it is done; rejects with what made it go back, or when it takes too long. Either way it goes on without us. */
export async function outcomeOf(operations: Pick<Operations, 'ended'>, id: OperationId, seconds: number): Promise<Operation> {
  const deadline = AbortSignal.timeout(seconds * 1000)
  const operation = await operations.ended(id, deadline).catch((error: unknown) => {
    if (deadline.aborted) throw refuse.stillRunning({ operation: id })
    throw error
  })
  if (operation.state === 'done') return operation
  throw reasonOf(operation)
}

// Long enough for what takes a tenth of a second, short enough that nobody takes it for a hang.
const momentSeconds = 3

/**
 * Gives a quick operation the moment that it needs, so that a client that goes on at once does not meet its locks. Says how it
 * ended; null while it is still going on.
 */
export async function settled(operations: Pick<Operations, 'ended'>, id: OperationId): Promise<Operation | null> {
  const moment = AbortSignal.timeout(momentSeconds * 1000)
  return await operations.ended(id, moment).catch((error: unknown) => {
    if (moment.aborted) return null
    throw error
  })
}

/** The same where an answer would be wrong if it had failed already. */
export async function settledWell(operations: Pick<Operations, 'ended'>, id: OperationId): Promise<void> {
  const operation = await settled(operations, id)
  if (operation && operation.state !== 'done') throw reasonOf(operation)
}

const reasonOf = ({ id, problem }: Operation) => (problem ? refusalOf(problem) : refuse.operationFailed({ operation: id }))
