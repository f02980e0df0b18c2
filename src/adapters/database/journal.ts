import type { UpdateObject } from 'kysely'
import { sql } from 'kysely'
import { endedStates, type OperationEvent, type Problem } from '../../domain/operation.ts'
import { type Claim, type Journal, LeaseLost, type StepState } from '../../ports/journal.ts'
import type { Db, Tables, Tx } from '../../ports/tables.ts'
import { appendEvent } from './append-event.ts'
import { jsonb } from './json.ts'
import { transact } from './transact.ts'

type OperationChange = UpdateObject<Tables, 'operations'>
type StepNews = { attempt?: number; output?: unknown; problem?: Problem }

/** The journal of one claimed operation: every write holds the operation's row and checks its epoch first. */
export function journalOf(db: Db, { operation, epoch }: Pick<Claim, 'operation' | 'epoch'>): Journal {
  const write = (change: OperationChange, body: (tx: Tx) => Promise<void>): Promise<void> =>
    transact(db, async (tx) => {
      const { numUpdatedRows } = await tx
        .updateTable('operations')
        .set(change)
        .where('id', '=', operation)
        .where('epoch', '=', epoch)
        .where('state', 'not in', endedStates)
        .executeTakeFirst()
      if (numUpdatedRows !== 1n) throw new LeaseLost(operation, epoch)
      await body(tx)
    })

  const event = (tx: Tx, type: OperationEvent['type'], data: Record<string, unknown>) => appendEvent(tx, operation, type, data)

  const enter = async (tx: Tx, step: string, state: StepState, news: StepNews = {}): Promise<void> => {
    await writeStep(tx, step, state, news)
    const { output: _, ...shown } = news
    await event(tx, 'step', { step, state, ...shown })
  }

  const writeStep = async (tx: Tx, step: string, state: StepState, news: StepNews): Promise<void> => {
    const columns = {
      state,
      epoch,
      ...(news.attempt === undefined ? {} : { attempt: news.attempt, started_at: sql<Date>`clock_timestamp()` }),
      ...('output' in news ? { output: jsonb(news.output) } : {}),
      ...(news.problem ? { problem: jsonb(news.problem) } : {}),
      ended_at: state === 'started' || state === 'undoing' ? null : sql<Date>`clock_timestamp()`,
    }
    await tx
      .insertInto('operation_steps')
      .values({ operation_id: operation, step, attempt: state === 'failed' ? 0 : 1, ...columns })
      .onConflict((conflict) => conflict.columns(['operation_id', 'step']).doUpdateSet(columns))
      .execute()
  }

  const done = async (tx: Tx, step: string, output: unknown, warnings: readonly Problem[]): Promise<void> => {
    await enter(tx, step, 'done', { output })
    for (const problem of warnings) await event(tx, 'warning', { step, problem })
  }

  const plusWarnings = (warnings: readonly Problem[]): OperationChange =>
    warnings.length === 0 ? {} : { warnings: sql`warnings || ${jsonb(warnings)}::jsonb` }

  return {
    read: () =>
      db
        .selectFrom('operation_steps')
        .select(['step', 'state', 'attempt', 'output', 'problem'])
        .where('operation_id', '=', operation)
        .execute(),

    started: (step, attempt) => write({ state: 'running' }, (tx) => enter(tx, step, 'started', { attempt })),

    done: (step, output, warnings) =>
      write({ state: 'running', ...plusWarnings(warnings) }, (tx) => done(tx, step, output, warnings)),

    commit: (step, effect) =>
      write({ state: 'running' }, async (tx) => {
        const { output, warnings } = await effect(tx)
        if (warnings.length > 0) {
          await tx.updateTable('operations').set(plusWarnings(warnings)).where('id', '=', operation).execute()
        }
        await done(tx, step, output, warnings)
      }),

    failed: (step, problem) =>
      write({ state: 'undoing', problem: jsonb(problem) }, (tx) => enter(tx, step, 'failed', { problem })),

    gaveUp: (step, problem) =>
      write({ state: 'running', ...plusWarnings([problem]) }, async (tx) => {
        await enter(tx, step, 'failed', { problem })
        await event(tx, 'warning', { step, problem })
      }),

    undoing: (step) => write({ state: 'undoing' }, (tx) => enter(tx, step, 'undoing')),

    undone: (step, warnings) =>
      write({ state: 'undoing', ...plusWarnings(warnings) }, async (tx) => {
        await enter(tx, step, 'undone')
        for (const problem of warnings) await event(tx, 'warning', { step, problem })
      }),

    stuck: (step, problem, againInMs) =>
      write(
        {
          state: 'stuck',
          problem: jsonb(problem),
          attempts: sql`attempts + 1`,
          run_at: sql`clock_timestamp() + ${againInMs} * interval '1 millisecond'`,
          lease_owner: null,
          lease_until: null,
        },
        (tx) => event(tx, 'step', { step, state: 'stuck', problem }),
      ),

    finished: (result) =>
      write({ ...ended('done'), result: jsonb(result), problem: null }, async (tx) => {
        await freeLocks(tx)
        await event(tx, 'ended', { state: 'done', result })
      }),

    wentBack: (because, effect) =>
      write({ ...ended('undone'), problem: jsonb(because) }, async (tx) => {
        await effect(tx)
        await freeLocks(tx)
        await event(tx, 'ended', { state: 'undone', problem: because })
      }),

    progress: (step, data) => write({ epoch }, (tx) => event(tx, 'progress', { ...data, step })),
  }

  function freeLocks(tx: Tx) {
    return tx.deleteFrom('locks').where('operation_id', '=', operation).execute()
  }
}

const ended = (state: 'done' | 'undone'): OperationChange => ({
  state,
  ended_at: sql`clock_timestamp()`,
  lease_owner: null,
  lease_until: null,
})
