import type { Problem } from '../../domain/operation.ts'
import { Refusal, type refuse } from '../../domain/refusals.ts'

/** What a client may see of an error: a refusal says itself, anything else is a defect, and is logged whole instead. */
export const problemOf = (error: unknown): Problem =>
  error instanceof Refusal
    ? { code: error.code, message: error.message }
    : { code: 'internal', message: 'Something went wrong inside Comeback. The details are in its log, under this request id.' }

const unknownOutcomes: readonly string[] = ['hostUnreachable', 'databaseUnavailable'] satisfies (keyof typeof refuse)[]

/** Whether nobody can tell if the effect happened: worth repeating, since effects may be repeated. */
export const isUnknownOutcome = (error: unknown): boolean => error instanceof Refusal && unknownOutcomes.includes(error.code)

export const isDatabaseGone = (error: unknown): boolean => error instanceof Refusal && error.code === 'databaseUnavailable'
