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
  throw operation.problem ? refusalOf(operation.problem) : refuse.operationFailed({ operation: id })
}
