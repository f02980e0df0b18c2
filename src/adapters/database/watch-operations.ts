/** Waiting for operations: for their end, and for their next events. Notifications wake it, looking now and then backs them up. */
import type { OperationId } from '../../domain/ids.ts'
import { hasEnded, type Operation, type OperationEvent } from '../../domain/operation.ts'
import { refuse } from '../../domain/refusals.ts'
import type { Operations } from '../../ports/operations.ts'
import type { Db } from '../../ports/tables.ts'
import { isUnavailable } from './failures.ts'
import { channels, type Listener, wakeable } from './listen.ts'

const lookEveryMs = 1_000
const page = 500

export async function waitForEnd(
  listener: Listener,
  show: (id: OperationId) => Promise<Operation | null>,
  id: OperationId,
  signal?: AbortSignal,
): Promise<Operation> {
  using wake = wakeable(listener, channels.events, (operation) => operation === id)
  for (;;) {
    signal?.throwIfAborted()
    const found = await unlessUnavailable(() => show(id))
    if (found === null) throw refuse.notFound({ what: 'Operation', id })
    if (found && hasEnded(found.state)) return found
    await wake.next(lookEveryMs, signal)
  }
}

export async function* eventsOf(
  db: Db,
  listener: Listener,
  { operation, project, after }: Parameters<Operations['events']>[0],
  signal: AbortSignal,
): AsyncGenerator<OperationEvent> {
  using wake = wakeable(listener, channels.events, (named) => operation === undefined || named === operation)
  const select = db
    .selectFrom('operation_events as e')
    .innerJoin('operations as o', 'o.id', 'e.operation_id')
    .select(['e.seq', 'e.operation_id', 'e.at', 'e.type', 'e.data'])
    .$if(operation !== undefined, (query) => query.where('e.operation_id', '=', operation!))
    .$if(project !== undefined, (query) => query.where('o.project_id', '=', project!))
    .orderBy('e.seq')
    .limit(page)
  for (let last = after; !signal.aborted; ) {
    const rows = (await unlessUnavailable(() => select.where('e.seq', '>', last).execute())) ?? []
    for (const { seq, operation_id, at, type, data } of rows) {
      if (signal.aborted) return
      yield { seq, operation: operation_id, at, type, data: { ...data } }
      last = seq
    }
    if (rows.length < page) await wake.next(lookEveryMs, signal)
  }
}

/** Undefined while the database is away: who waits goes on waiting. */
async function unlessUnavailable<Output>(run: () => Promise<Output>): Promise<Output | undefined> {
  try {
    return await run()
  } catch (error) {
    if (isUnavailable(error)) return undefined
    throw error
  }
}
