/** Values without a schema of their own (results, event data, facts of a refusal) as this interface spells them: snake_case. */
import { refuse } from '../../domain/refusals.ts'
import type { Envelope } from '../http/face.ts'

export function wire(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(wire)
  if (value instanceof Date) return value.toISOString()
  if (value === null || typeof value !== 'object') return value
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [snake(key), wire(inner)]))
}

const snake = (key: string) => key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)

export const moment = (at: Date | string | null): string | null => (at === null ? null : new Date(at).toISOString())

export const envelope: Envelope = ({ code, message, facts }, request) => ({
  error: { code, message, ...(Object.keys(facts).length === 0 ? {} : { facts: wire(facts) }), request_id: request.id },
})

/** The number of an event to go on after, as clients resume: the header, else the query. */
export function resumeAfter(header: string | string[] | undefined, query: number | undefined): number | undefined {
  if (header === undefined || header === '') return query
  if (typeof header === 'string' && /^\d{1,15}$/.test(header)) return Number(header)
  throw refuse.malformed({ why: 'Last-Event-ID must be the number of an event.' })
}
