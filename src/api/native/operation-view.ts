import type { z } from 'zod'
import type { OperationEventView, OperationView, operationWithSteps } from '../../../contract/operations.ts'
import { lastEvent, stepsOf } from '../../app/views/operations.ts'
import type { OperationId } from '../../domain/ids.ts'
import type { Operation, OperationEvent } from '../../domain/operation.ts'
import { refuse } from '../../domain/refusals.ts'
import type { NativeNeeds } from './needs.ts'
import { moment, wire } from './wire.ts'

export const viewOf = (operation: Operation): OperationView => ({
  id: operation.id,
  kind: operation.kind,
  state: operation.state,
  instance: operation.instance,
  waits_for: operation.waitsFor,
  project: operation.origin.projectId,
  user: operation.origin.userId,
  request_id: operation.origin.requestId,
  created_at: operation.createdAt.toISOString(),
  started_at: moment(operation.startedAt),
  ended_at: moment(operation.endedAt),
  problem: operation.problem,
  result: wire(operation.result),
  warnings: [...operation.warnings],
})

export async function viewWithSteps(
  { db, operations }: Pick<NativeNeeds, 'db' | 'operations'>,
  id: OperationId,
): Promise<z.output<typeof operationWithSteps>> {
  const operation = await operations.show(id)
  if (!operation) throw refuse.notFound({ what: 'Operation', id })
  const steps = await stepsOf(db, id)
  return {
    ...viewOf(operation),
    steps: steps.map(({ step, started_at, ended_at, ...rest }) => ({
      name: step,
      ...rest,
      started_at: started_at.toISOString(),
      ended_at: moment(ended_at),
    })),
    last_event: await lastEvent(db, id),
  }
}

export const eventView = ({ seq, operation, at, type, data }: OperationEvent): OperationEventView => ({
  seq,
  operation,
  at: at.toISOString(),
  type,
  data: wire(data) as Record<string, unknown>,
})
