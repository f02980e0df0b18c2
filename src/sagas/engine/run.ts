/** One run of a saga: what it is given, and what is known of its steps so far. */
import type { Problem } from '../../domain/operation.ts'
import type { Clock } from '../../ports/clock.ts'
import type { Claim, Journal, StepEntry, StepState } from '../../ports/journal.ts'
import type { Log } from '../../ports/log.ts'
import type { Tx } from '../../ports/tables.ts'
import type { Saga, Step, StepContext } from './define.ts'
import { problemOf } from './problems.ts'

/** Any saga: the registry pairs its name with its params, the composition root gives it its world. */
export type AnySaga = Saga<never, never, Tx>
export type AnyStep = Step<never, never, Tx>
export type StepOf<Kind extends AnyStep['kind']> = AnyStep & { kind: Kind }

export type Pace = {
  /** How often a step is tried whose outcome stays unknown, before it is taken back. */
  readonly attempts: number
  /** How often a finish is: it cannot be taken back, and given up it leaves the storage telling an old story. */
  readonly finishAttempts: number
  readonly waitMs: (attempt: number) => number
}

/** An agent that is restarted answers again within seconds, which a step waits for; a finish waits for some minutes. */
export const defaultPace: Pace = {
  attempts: 6,
  finishAttempts: 12,
  waitMs: (attempt) => Math.min(60_000, 250 * 2 ** (attempt - 1)),
}

export type Run = {
  readonly saga: AnySaga
  readonly claim: Claim
  readonly journal: Journal
  readonly world: unknown
  readonly clock: Clock
  readonly log: Log
  readonly pace: Pace
  /** Aborted when no further step may begin: the process shuts down. */
  readonly halt: AbortSignal
  /** Aborted when effects must end too: the lease was lost, or the shutdown's time is over. */
  readonly stop: AbortSignal
  /** Aborted when the operation was asked to go back. */
  readonly cancel: AbortSignal
}

/** The journal as far as it is written. */
export type Story = Map<string, Pick<StepEntry, 'state' | 'attempt' | 'output' | 'problem'>>

export const storyOf = (entries: readonly StepEntry[]): Story => new Map(entries.map((entry) => [entry.step, entry]))

/** Whether the saga need not run the step again on its way forward. */
export function isSettled(step: AnyStep, story: Story): boolean {
  const state = story.get(step.name)?.state
  return state === 'done' || (step.kind === 'finish' && state === 'failed')
}

/** Whether what was done cannot be taken back any more. */
export const isBeyondReturn = ({ steps }: AnySaga, story: Story): boolean =>
  steps.some((step) => isPointOfNoReturn(step) && story.get(step.name)?.state === 'done')

export const isPointOfNoReturn = (step: AnyStep): boolean =>
  step.kind === 'commit' || (step.kind === 'step' && step.pointOfNoReturn === true)

const back: readonly (StepState | undefined)[] = ['failed', 'undoing', 'undone']

/** The step whose failure turned the operation back, if one did. */
export const failureIn = ({ steps }: AnySaga, story: Story): Problem | null => {
  const turned = steps.findLast(({ kind, name }) => kind !== 'finish' && back.includes(story.get(name)?.state))
  return turned ? (story.get(turned.name)?.problem ?? problemOf(undefined)) : null
}

/** The steps to be taken back, the failed one first. */
export const stepsToUndo = ({ steps }: AnySaga, story: Story): StepOf<'step'>[] =>
  steps
    .filter((step): step is StepOf<'step'> => step.kind === 'step')
    .filter(({ name }) => hasBegun(story.get(name)) && story.get(name)?.state !== 'undone')
    .toReversed()

/** A step that was cancelled before its first attempt has nothing to undo. */
const hasBegun = (entry: { attempt: number } | undefined): boolean => entry !== undefined && entry.attempt > 0

/** Outputs of the steps before this one (of all, without a name), as they read in the journal. */
export function outputsBefore({ steps }: AnySaga, story: Story, name?: string): Record<string, unknown> {
  const before =
    name === undefined
      ? steps
      : steps.slice(
          0,
          steps.findIndex((step) => step.name === name),
        )
  return Object.fromEntries(
    before.flatMap((step) => {
      const entry = story.get(step.name)
      return entry && wasDone(entry.state, entry.output) ? [[step.name, entry.output]] : []
    }),
  )
}

/** A step undone since keeps its output, if it ever had one. */
const wasDone = (state: StepState, output: unknown): boolean => state === 'done' || (back.includes(state) && output != null)

/** What a step says besides its output. */
export type Remarks = { readonly warnings: Problem[]; progress: Promise<void> }
export const noRemarks = (): Remarks => ({ warnings: [], progress: Promise.resolve() })

export const contextOf = (
  { claim, world, journal, log }: Run,
  step: string,
  done: Record<string, unknown>,
  signal: AbortSignal,
  remarks: Remarks,
): StepContext<never, never, Record<string, unknown>> => ({
  operation: claim.operation,
  requestId: claim.requestId,
  // The registry pairs saga and params, `worldFor` gives every saga the whole world; the erased types cannot say so.
  params: claim.params as never,
  world: world as never,
  done,
  signal,
  warn: (problem) => void remarks.warnings.push(problem),
  progress: (data) => {
    remarks.progress = remarks.progress
      .then(() => journal.progress(step, data))
      .catch((error: unknown) => log.debug({ operation: claim.operation, step, err: error }, 'progress was not recorded'))
  },
})
