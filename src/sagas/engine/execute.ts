/**
 * Runs a saga, or takes it up where its journal ends.
 *
 *   forward   each step: `started`, effect, `done`. A step whose outcome is unknown is repeated, a few times.
 *   back      when a step failed or the operation was cancelled: that step is undone, then all before it, last first.
 *             An undo that fails leaves the operation stuck: shown, its locks kept, tried again for ever.
 *   beyond    after the commit, or a step that is the point of no return, there is no way back, and no cancelling. A step or
 *             commit that fails there leaves the operation stuck, and is tried again for ever; a `finish` that keeps
 *             failing becomes a warning.
 *
 * A rejection says that the run itself ended (journal unreachable, lease lost, shutdown); it settles nothing.
 */
import type { Problem } from '../../domain/operation.ts'
import { refuse } from '../../domain/refusals.ts'
import { type Committed, LeaseLost } from '../../ports/journal.ts'
import type { Tx } from '../../ports/tables.ts'
import { end, failAt, type Moment } from './failpoints.ts'
import { isDatabaseGone, isUnknownOutcome, problemOf } from './problems.ts'
import {
  contextOf,
  failureIn,
  isBeyondReturn,
  isSettled,
  noRemarks,
  outputsBefore,
  type Run,
  type StepOf,
  type Story,
  stepsToUndo,
  storyOf,
} from './run.ts'

export type Ending = 'done' | 'undone' | 'stuck'

export async function execute(run: Run): Promise<Ending> {
  const story = storyOf(await run.journal.read())
  const failed = failureIn(run.saga, story)
  return failed ? goBack(run, story, failed) : goForward(run, story)
}

async function goForward(run: Run, story: Story): Promise<Ending> {
  for (const step of run.saga.steps) {
    if (isSettled(step, story)) continue
    const cancel = step.kind === 'finish' || isBeyondReturn(run.saga, story) ? never : run.cancel
    const problem = step.kind === 'commit' ? await commit(run, step, story, cancel) : await act(run, step, story, cancel)
    if (!problem) continue
    if (step.kind !== 'finish' && isBeyondReturn(run.saga, story)) return stick(run, step.name, problem)
    if (step.kind === 'finish') await run.journal.gaveUp(step.name, problem)
    else await run.journal.failed(step.name, problem)
    note(story, step, 'failed', { problem })
    await reach(run, step, 'after-failed')
    if (step.kind !== 'finish') return goBack(run, story, problem)
  }
  await reach(run, end, 'before-done')
  await run.journal.finished(resultOf(run, story))
  await reach(run, end, 'after-done')
  return 'done'
}

/** Tries a step or a finish as often as it may be tried. Answers why it failed, or null. */
async function act(run: Run, step: StepOf<'step' | 'finish'>, story: Story, cancel: AbortSignal): Promise<Problem | null> {
  const signal = AbortSignal.any([run.stop, cancel])
  for (let attempt = (story.get(step.name)?.attempt ?? 0) + 1; ; attempt++) {
    leaveIfAsked(run)
    if (cancel.aborted) return problemOf(refuse.cancelled())
    await reach(run, step, 'before-started')
    await run.journal.started(step.name, attempt)
    note(story, step, 'started', { attempt })
    await reach(run, step, 'before-effect')
    const remarks = noRemarks()
    const context = contextOf(run, step.name, outputsBefore(run.saga, story, step.name), signal, remarks)
    const tried = await attempted(async () => asJournalled(await step.do(context)))
    await remarks.progress
    await reach(run, step, 'after-effect')
    if ('output' in tried) {
      await run.journal.done(step.name, tried.output, remarks.warnings)
      note(story, step, 'done', tried)
      await reach(run, step, 'after-done')
      return null
    }
    run.stop.throwIfAborted()
    if (tried.error instanceof LeaseLost) throw tried.error
    if (cancel.aborted) return problemOf(refuse.cancelled())
    report(run, step.name, attempt, tried.error)
    if (attempt >= attemptsOf(run, step, tried.error)) return problemOf(tried.error)
    await pause(run, run.pace.waitMs(attempt), signal)
  }
}

/** A finish is tried a number of times whatever happens; what has an unknown outcome is repeated with more patience. */
function attemptsOf({ pace }: Run, step: StepOf<'step' | 'finish'>, error: unknown): number {
  const isUnknown = isUnknownOutcome(error)
  if (step.kind === 'finish') return isUnknown ? Math.max(step.attempts, pace.finishAttempts) : step.attempts
  return isUnknown ? pace.attempts : 1
}

async function commit(run: Run, step: StepOf<'commit'>, story: Story, cancel: AbortSignal): Promise<Problem | null> {
  leaveIfAsked(run)
  if (cancel.aborted) return problemOf(refuse.cancelled())
  const done = outputsBefore(run.saga, story, step.name)
  let output: unknown = null
  await reach(run, step, 'before-commit')
  const rejection = await inTransaction<Committed>(
    (effect) => run.journal.commit(step.name, effect),
    async (tx) => {
      const remarks = noRemarks()
      output = asJournalled(await step.do(contextOf(run, step.name, done, run.stop, remarks), tx))
      await reach(run, step, 'inside-commit')
      return { output, warnings: remarks.warnings }
    },
  )
  if (rejection) {
    run.stop.throwIfAborted()
    report(run, step.name, 1, rejection.error)
    return problemOf(rejection.error)
  }
  note(story, step, 'done', { output })
  await reach(run, step, 'after-commit')
  return null
}

async function goBack(run: Run, story: Story, because: Problem): Promise<Ending> {
  for (const step of stepsToUndo(run.saga, story)) {
    if (typeof step.undo !== 'function') continue
    leaveIfAsked(run)
    await reach(run, step, 'before-undoing')
    await run.journal.undoing(step.name)
    await reach(run, step, 'before-undo')
    const remarks = noRemarks()
    const context = contextOf(run, step.name, outputsBefore(run.saga, story, step.name), run.stop, remarks)
    const { undo } = step
    const tried = await attempted(() => undo(context))
    await remarks.progress
    await reach(run, step, 'after-undo')
    if ('error' in tried) {
      run.stop.throwIfAborted()
      if (tried.error instanceof LeaseLost) throw tried.error
      report(run, step.name, run.claim.attempts + 1, tried.error)
      return step.pointOfNoReturn ? goOn(run, step, story) : stick(run, step.name, problemOf(tried.error))
    }
    await run.journal.undone(step.name, remarks.warnings)
    await reach(run, step, 'after-undone')
  }
  return endAsUndone(run, story, because)
}

/** It could not be proved that the point of no return was not reached, so it is reached now. */
async function goOn(run: Run, step: StepOf<'step'>, story: Story): Promise<Ending> {
  const problem = await act(run, step, story, never)
  return problem ? stick(run, step.name, problem) : goForward(run, story)
}

async function endAsUndone(run: Run, story: Story, because: Problem): Promise<Ending> {
  const { afterUndo } = run.saga
  const context = contextOf(run, end.name, outputsBefore(run.saga, story), run.stop, noRemarks())
  await reach(run, end, 'before-undone')
  const rejection = await inTransaction<void>(
    (effect) => run.journal.wentBack(because, effect),
    async (tx) => void (await afterUndo?.({ ...context, because }, tx)),
  )
  if (rejection) {
    report(run, end.name, run.claim.attempts + 1, rejection.error)
    return stick(run, end.name, problemOf(rejection.error))
  }
  await reach(run, end, 'after-undone')
  return 'undone'
}

async function stick(run: Run, step: string, problem: Problem): Promise<Ending> {
  await run.journal.stuck(step, problem, run.pace.waitMs(run.claim.attempts + 1))
  return 'stuck'
}

/** Runs an effect inside a journal write, and tells the effect's rejection (answered) from the journal's (thrown). */
async function inTransaction<Output>(
  write: (effect: (tx: Tx) => Promise<Output>) => Promise<void>,
  effect: (tx: Tx) => Promise<Output>,
): Promise<{ error: unknown } | null> {
  let rejection: { error: unknown } | null = null
  try {
    await write(async (tx) => {
      rejection = null
      const tried = await attempted(() => effect(tx))
      if ('output' in tried) return tried.output
      rejection = tried
      throw tried.error
    })
    return null
  } catch (error) {
    if (rejection === null || isDatabaseGone(error)) throw error
    return rejection
  }
}

async function attempted<Output>(run: () => Promise<Output>): Promise<{ output: Output } | { error: unknown }> {
  try {
    return { output: await run() }
  } catch (error) {
    return { error }
  }
}

/** The output as it will be read after a restart, so that later steps see the same either way. */
const asJournalled = (output: unknown): unknown => JSON.parse(JSON.stringify(output ?? null)) as unknown

function resultOf(run: Run, story: Story): unknown {
  const { claim, saga } = run
  try {
    return asJournalled(
      saga.result({ params: claim.params as never, done: outputsBefore(saga, story), operation: claim.operation }),
    )
  } catch (error) {
    report(run, end.name, 1, error)
    return null
  }
}

const note = (
  story: Story,
  { name }: { name: string },
  state: 'started' | 'done' | 'failed',
  news: { attempt?: number; output?: unknown; problem?: Problem },
) => story.set(name, { ...(story.get(name) ?? { attempt: 0, output: null, problem: null }), ...news, state })

const never = new AbortController().signal

function leaveIfAsked({ stop, halt }: Run): void {
  stop.throwIfAborted()
  halt.throwIfAborted()
}

/** Waits before trying again; being asked to leave or to go back ends it early. */
const pause = ({ clock, halt }: Run, ms: number, signal: AbortSignal): Promise<void> =>
  clock.wait(ms, AbortSignal.any([signal, halt])).catch(() => undefined)

const reach = ({ saga }: Run, place: { name: string }, moment: Moment): Promise<void> => failAt(saga, place, moment)

function report({ log, claim }: Run, step: string, attempt: number, error: unknown): void {
  const { operation, kind, requestId } = claim
  const facts = { operation, kind, requestId, step, attempt, err: error }
  if (problemOf(error).code === 'internal') log.error(facts, 'a step failed in a way nobody foresaw')
  else log.warn(facts, 'a step failed')
}
