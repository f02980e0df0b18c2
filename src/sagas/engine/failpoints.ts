/** Where a test may kill the process inside a saga: on both sides of every journal write and of every effect. */
import { failpoint, type SagaFailpoint } from '../../failpoints.ts'
import type { Tx } from '../../ports/tables.ts'
import type { Saga, Step } from './define.ts'

const effect = ['before-started', 'before-effect', 'after-effect', 'after-done'] as const

export const moments = {
  step: [...effect, 'after-failed', 'before-undoing', 'before-undo', 'after-undo', 'after-undone'],
  commit: ['before-commit', 'inside-commit', 'after-commit', 'after-failed'],
  finish: [...effect, 'after-failed'],
  end: ['before-done', 'after-done', 'before-undone', 'after-undone'],
} as const

export type Moment = (typeof moments)[keyof typeof moments][number]

export const failAt = (saga: { name: string }, place: { name: string }, moment: Moment): Promise<void> =>
  failpoint(`saga.${saga.name}.${place.name}.${moment}`)

/** The last journal write, by which an operation ends. */
export const end = { name: 'end', kind: 'end' } as const

/** All points of a saga, for tests that kill at each of them. */
export const failpointsOf = (saga: Saga<never, never, Tx>): SagaFailpoint[] =>
  [...saga.steps, end].flatMap((place: Step<never, never, Tx> | typeof end) =>
    moments[place.kind].map((moment): SagaFailpoint => `saga.${saga.name}.${place.name}.${moment}`),
  )
