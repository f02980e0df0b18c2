/** How quiet a guest was for a snapshot or backup: how it is asked for, and how it is told. */
import { Option } from 'commander'
import { z } from 'zod'
import { type Consistency, consistencies } from '../domain/volume.ts'
import { clean } from './output.ts'

export const consistencyOption = (unlessSaid: Consistency): Option =>
  new Option(
    '--consistency <kind>',
    'other than crash: the guest is frozen through its agent for a moment; application: its freeze hooks run too',
  )
    .choices(consistencies)
    .default(unlessSaid)

type Achieved = { readonly consistency: Consistency | null; readonly consistency_because: string | null }

export const consistencyOf = ({ consistency, consistency_because: why }: Achieved): string | null =>
  why === null ? consistency : `${consistency}: ${clean(why)}`

const result = z.object({ consistency: z.enum(consistencies), why: z.string().nullable() })

/** What the operation that took a snapshot achieved, as a line of its own; nothing while it has not ended. */
export function achievedBy({ result: achieved }: { readonly result?: unknown }): string {
  const known = result.safeParse(achieved)
  return known.success ? `\nConsistency: ${consistencyOf({ ...known.data, consistency_because: known.data.why })}` : ''
}

/** Below a table that has room for one word: why each of these is less than was asked for. */
export function whyLess(taken: readonly (Achieved & { readonly name: string })[]): string {
  const less = taken.filter(({ consistency_because: why }) => why !== null)
  return less.map((one) => `\n${clean(one.name)} is ${consistencyOf(one)}`).join('')
}
