/** What PostgreSQL and its client say when something fails, told apart. */
import { Refusal, refuse } from '../../domain/refusals.ts'

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : ''

/** Connection exceptions (08), shutdown and start-up (57P01 to 57P03), and no connection slot left (53300). */
const sqlStates = /^(08...|57P0[123]|53300)$/
const systemErrors: readonly string[] = [
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOENT',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENOTFOUND',
]
/** The client's own errors carry no code. */
const sentences =
  /^(Connection terminated|timeout expired|timeout exceeded when trying to connect|Client has encountered a connection error|Cannot use a pool after calling end)/

/** Whether the connection failed: what was being done may or may not have happened. */
export const isConnectionFailure = (error: unknown): boolean =>
  error instanceof Error &&
  (sqlStates.test(codeOf(error)) || systemErrors.includes(codeOf(error)) || sentences.test(error.message))

/** Serialization failure, deadlock, lock timeout: nothing happened, and a repeat may well succeed. */
export const isConflict = (error: unknown): boolean => ['40001', '40P01', '55P03'].includes(codeOf(error))

export const isUniqueViolation = (error: unknown, constraint: string): boolean =>
  codeOf(error) === '23505' && error instanceof Error && 'constraint' in error && error.constraint === constraint

export const asUnavailable = (error: unknown): never => {
  if (isConnectionFailure(error)) throw Object.assign(refuse.databaseUnavailable(), { cause: error })
  throw error
}

export const isUnavailable = (error: unknown): boolean =>
  error instanceof Refusal && error.code === ('databaseUnavailable' satisfies keyof typeof refuse)
