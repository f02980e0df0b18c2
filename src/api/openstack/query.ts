/** Query strings: a name may come several times, and values are text until somebody says what they are. */
import type { FastifyRequest } from 'fastify'
import { refuse } from '../../domain/refusals.ts'

export type Query = {
  readonly entries: [string, string][]
  one(name: string): string | undefined
  all(name: string): readonly string[]
}

export function queryOf(request: FastifyRequest): Query {
  const entries = Object.entries(request.query as Record<string, string | string[]>).flatMap(([name, value]) =>
    [value].flat().map((each): [string, string] => [name, each]),
  )
  const all = (name: string) => entries.filter(([each]) => each === name).map(([, value]) => value)
  return { entries, all, one: (name) => all(name)[0] }
}

const largestPage = 1000

/** What was asked for, as far as it is allowed. */
export function limitOf(query: Query, usual = largestPage): number {
  const text = query.one('limit')
  if (text === undefined) return usual
  const limit = wholeNumber('limit', text)
  return limit === 0 ? usual : Math.min(limit, largestPage)
}

export function wholeNumber(name: string, text: string): number {
  if (!/^\d{1,15}$/.test(text))
    throw refuse.malformed({ why: `Invalid input for query parameter ${name}: it must be a whole number, not negative.` })
  return Number(text)
}

/** Nova's and Cinder's ways to say yes and no. */
export function boolean(name: string, text: string | undefined): boolean | undefined {
  if (text === undefined || text === '') return undefined
  if (/^(1|t|true|on|y|yes)$/i.test(text)) return true
  if (/^(0|f|false|off|n|no)$/i.test(text)) return false
  throw refuse.malformed({ why: `Invalid input for query parameter ${name}: it must be true or false.` })
}

export function moment(name: string, text: string | undefined): Date | undefined {
  if (text === undefined) return undefined
  const zoned = /([zZ]|[+-]\d\d:?\d\d)$/.test(text) ? text : `${text}Z`
  const date = new Date(zoned.replace(' ', 'T'))
  if (!/^\d{4}-\d\d-\d\d/.test(text) || Number.isNaN(date.getTime()))
    throw refuse.malformed({ why: `Invalid input for query parameter ${name}: it must be a time in ISO 8601 form.` })
  return date
}
