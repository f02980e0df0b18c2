/** From whatever was thrown to what a client may see of it. Refusals keep their sentence; defects are logged whole and say nothing. */
import type { FastifyRequest } from 'fastify'
import { ZodError } from 'zod'
import { Refusal, type RefusalKind, refuse } from '../../domain/refusals.ts'

export const statusOf = {
  invalid: 400,
  unauthenticated: 401,
  forbidden: 403,
  notFound: 404,
  notAcceptable: 406,
  conflict: 409,
  tooLarge: 413,
  overLimit: 413,
  tooSoon: 429,
  unsupportedMedia: 415,
  notImplemented: 501,
  unavailable: 503,
} as const satisfies Record<RefusalKind, number>

export type Failure = {
  readonly status: number
  /** A refusal's code; `defect` for what is ours to repair. */
  readonly code: string
  readonly message: string
  readonly facts: Readonly<Record<string, unknown>>
}

const defect: Failure = {
  status: 500,
  code: 'defect',
  message: 'Unexpected error. Report the request id to the administrator.',
  facts: {},
}

export function failureOf(error: unknown): Failure {
  const refusal = refusalOf(error)
  return refusal
    ? { status: statusOf[refusal.kind], code: refusal.code, message: refusal.message, facts: refusal.facts }
    : defect
}

export function logFailure(request: FastifyRequest, failure: Failure, error: unknown): void {
  if (failure.status === 500) request.log.error({ err: error }, 'defect')
  else request.log.info({ code: failure.code, status: failure.status, why: failure.message }, 'refused')
  request.audited.outcome = failure.code
}

function refusalOf(error: unknown): Refusal | null {
  if (error instanceof Refusal) return error
  if (error instanceof ZodError) return refuse.malformed({ why: sayZod(error) })
  if (!(error instanceof Error)) return null
  const code = 'code' in error ? String(error.code) : ''
  if (databaseGone.test(code) || databaseGoneWords.test(error.message)) return refuse.databaseUnavailable()
  return byFramework[code]?.(error) ?? null
}

/** Connection refused or broken, and PostgreSQL's own: shutting down, starting up, too many connections. */
const databaseGone = /^(ECONNREFUSED|ECONNRESET|EPIPE|ENOENT|57P0[123]|08\w{3}|53300)$/
const databaseGoneWords =
  /^(Connection terminated|timeout expired|timeout exceeded when trying to connect|Client has encountered a connection error|Cannot use a pool after calling end)/

const byFramework: Readonly<Record<string, (error: Error) => Refusal>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: (error) => refuse.tooLarge({ limit: limitOf(error) }),
  FST_ERR_CTP_INVALID_MEDIA_TYPE: () => refuse.unsupportedMedia(),
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: () => refuse.malformed({ why: 'The body is not as long as its Content-Length says.' }),
  FST_ERR_CTP_EMPTY_TYPE: () => refuse.unsupportedMedia(),
  FST_ERR_BAD_URL: () => refuse.malformed({ why: 'The URL is malformed.' }),
  FST_ERR_MAX_PARAM_LENGTH: () => refuse.malformed({ why: 'A part of the URL is too long.' }),
  ECONNABORTED: () => refuse.malformed({ why: 'The request ended before its body was complete.' }),
  ERR_STREAM_PREMATURE_CLOSE: () => refuse.malformed({ why: 'The request ended before its body was complete.' }),
}

const limitOf = (error: Error): number => ('limit' in error && typeof error.limit === 'number' ? error.limit : 1_048_576)

/** Nova's words around the first problem; the others are usually its consequences. */
export function sayZod(error: ZodError): string {
  const [issue] = error.issues
  if (!issue) return 'Invalid input.'
  if (issue.code === 'unrecognized_keys') {
    const keys = issue.keys.slice(0, 5).map((key) => `'${key.slice(0, 100)}'`)
    const where = issue.path.length > 0 ? ` in ${issue.path.join('.')}` : ''
    return `Additional properties are not allowed${where} (${keys.join(', ')} ${keys.length > 1 ? 'were' : 'was'} unexpected)`
  }
  return `Invalid input for field/attribute ${issue.path.join('.') || '(body)'}. ${issue.message}.`
}
