import { type RawBuilder, sql } from 'kysely'
import type { Problem } from '../../domain/operation.ts'
import { type Claim, type Journal, LeaseLost, type StepState } from '../../ports/journal.ts'
import type { Db, Tx } from '../../ports/tables.ts'
import { appendEvents, type NewEvent } from './append-event.ts'
import { jsonb } from './json.ts'
import { channels } from './listen.ts'
import { transact } from './transact.ts'

type StepNews = { attempt?: number; output?: unknown; problem?: Problem }

/**
 * The journal of one claimed operation. Every write is one statement, or ends one transaction: it holds the operation's row if
 * the epoch is still ours, and all else that it writes comes out of that row.
 */
export function journalOf(db: Db, { operation, epoch }: Pick<Claim, 'operation' | 'epoch'>): Journal {
  const ours = sql`id = ${operation} and epoch = ${epoch} and ended_at is null`
  const change = (columns: RawBuilder<unknown>) => sql`update operations set ${columns} where ${ours} returning id`

  const write = async (on: Db | Tx, held: RawBuilder<unknown>, also: RawBuilder<unknown>, events: readonly NewEvent[]) => {
    const { rows } = await sql<{ held: boolean }>`
      with held as (${held}), ${also} ${appendEvents(events)} select exists(select from held) as held`.execute(on)
    if (!rows[0]?.held) throw new LeaseLost(operation, epoch)
  }

  const holding = (run: (tx: Tx) => Promise<void>) =>
    transact(db, async (tx) => {
      const { rows } = await sql`select from operations where ${ours} for update`.execute(tx)
      if (rows.length !== 1) throw new LeaseLost(operation, epoch)
      await run(tx)
    })

  const enter = (
    on: Db | Tx,
    columns: RawBuilder<unknown>,
    step: string,
    state: StepState,
    { output, ...news }: StepNews = {},
    warnings: readonly Problem[] = [],
  ) =>
    write(
      on,
      change(sql`${columns}, warnings = warnings || ${jsonb(warnings)}::jsonb`),
      entry(epoch, step, state, { output, ...news }),
      [
        { type: 'step', data: { step, state, ...news } },
        ...warnings.map((problem): NewEvent => ({ type: 'warning', data: { step, problem } })),
      ],
    )

  const done = (on: Db | Tx, step: string, output: unknown, warnings: readonly Problem[]) =>
    enter(on, running, step, 'done', { output: output ?? null }, warnings)

  const ended = (on: Db | Tx, state: 'done' | 'undone', result: unknown, problem: Problem | null) =>
    write(
      on,
      change(sql`state = ${state}, result = ${jsonb(result)}::jsonb, problem = ${problem && jsonb(problem)}::jsonb,
        ended_at = clock_timestamp(), lease_owner = null, lease_until = null`),
      sql`
        freed as (delete from locks where operation_id in (select id from held)),
        due as (
          update operations w set run_at = clock_timestamp() from held where w.waits_for = held.id and w.ended_at is null
          returning pg_notify(${channels.work}, w.id::text)),`,
      [{ type: 'ended', data: state === 'done' ? { state, result } : { state, problem } }],
    )

  return {
    read: () =>
      db
        .selectFrom('operation_steps')
        .select(['step', 'state', 'attempt', 'output', 'problem'])
        .where('operation_id', '=', operation)
        .execute(),
    started: (step, attempt) => enter(db, running, step, 'started', { attempt }),
    done: (step, output, warnings) => done(db, step, output, warnings),
    commit: (step, effect) =>
      holding(async (tx) => {
        const { output, warnings } = await effect(tx)
        await done(tx, step, output, warnings)
      }),
    failed: (step, problem) => enter(db, sql`${undoing}, problem = ${jsonb(problem)}::jsonb`, step, 'failed', { problem }),
    gaveUp: (step, problem) => enter(db, running, step, 'failed', { problem }, [problem]),
    undoing: (step) => enter(db, undoing, step, 'undoing'),
    undone: (step, warnings) => enter(db, undoing, step, 'undone', {}, warnings),
    stuck: (step, problem, againInMs) =>
      write(
        db,
        change(sql`state = 'stuck', problem = ${jsonb(problem)}::jsonb, attempts = attempts + 1, lease_owner = null,
          lease_until = null, run_at = clock_timestamp() + ${againInMs} * interval '1 millisecond'`),
        sql``,
        [{ type: 'step', data: { step, state: 'stuck', problem } }],
      ),
    finished: (result) => ended(db, 'done', result, null),
    wentBack: (because, effect) =>
      holding(async (tx) => {
        await effect(tx)
        await ended(tx, 'undone', null, because)
      }),
    progress: (step, data) =>
      write(db, sql`select id from operations where ${ours} for update`, sql``, [
        { type: 'progress', data: { ...data, step } },
      ]),
  }
}

const running = sql`state = 'running'`
const undoing = sql`state = 'undoing'`

/** The step's line in the journal; what is not news stays as it was. A step that failed before it was tried has attempt 0. */
function entry(epoch: number, step: string, state: StepState, { attempt, output, problem }: StepNews): RawBuilder<unknown> {
  const endedAt = state === 'started' || state === 'undoing' ? sql`null::timestamptz` : sql`clock_timestamp()`
  return sql`
    entered as (
      insert into operation_steps as old (operation_id, step, state, attempt, output, problem, epoch, ended_at)
      select id, ${step}, ${state}, ${attempt ?? (state === 'failed' ? 0 : 1)}::int,
        ${output === undefined ? null : jsonb(output)}::jsonb, ${problem ? jsonb(problem) : null}::jsonb, ${epoch}::bigint, ${endedAt}
      from held
      on conflict (operation_id, step) do update set state = excluded.state, epoch = excluded.epoch, ended_at = excluded.ended_at,
        attempt = ${attempt === undefined ? sql`old.attempt` : sql`excluded.attempt`},
        started_at = ${attempt === undefined ? sql`old.started_at` : sql`excluded.started_at`},
        output = ${output === undefined ? sql`old.output` : sql`excluded.output`},
        problem = coalesce(excluded.problem, old.problem)),`
}
