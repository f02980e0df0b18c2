import type { Role } from '../../ports/tables.ts'

/** Weakest first; each one implies those before it. */
export const roles = ['reader', 'member', 'admin'] as const satisfies readonly Role[]

export const isRole = (text: string): text is Role => (roles as readonly string[]).includes(text)

/** The strongest first, with all that they imply. */
export function withImplied(assigned: readonly Role[]): Role[] {
  const strongest = Math.max(-1, ...assigned.map((role) => roles.indexOf(role)))
  return roles.slice(0, strongest + 1).reverse()
}
