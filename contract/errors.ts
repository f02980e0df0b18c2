/** How this interface says no: the status of each kind of refusal, and the body. */
import { z } from 'zod'
import type { RefusalKind } from '../src/domain/refusals.ts'
import { open } from './words.ts'

export const statusOf = {
  invalid: 400,
  unauthenticated: 401,
  forbidden: 403,
  notFound: 404,
  notAcceptable: 406,
  conflict: 409,
  tooLarge: 413,
  unsupportedMedia: 415,
  overLimit: 413,
  tooSoon: 429,
  notImplemented: 501,
  unavailable: 503,
} as const satisfies Record<RefusalKind, number>

export const errorBody = z
  .object({
    error: z.object({
      code: z.string().describe('Stable; programs may match on it'),
      message: z.string().describe('What, why and what to do, for people'),
      facts: open.optional().describe('The particulars in the message'),
      request_id: z.string().describe('Quote it when asking for help'),
    }),
  })
  .meta({ id: 'Error' })
export type ErrorBody = z.output<typeof errorBody>
