import type { OperationId } from '../domain/ids.ts'
import { refuse } from '../domain/refusals.ts'
import type { Needs } from './needs.ts'

/** With what an operation was started: what a repeated request is answered from. */
export async function paramsOf<Params>({ operations }: Pick<Needs, 'operations'>, id: OperationId): Promise<Params> {
  const operation = await operations.show(id)
  if (!operation) throw refuse.notFound({ what: 'Operation', id })
  return operation.params as Params
}
