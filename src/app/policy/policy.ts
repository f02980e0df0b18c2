/** Who may do what. Rules come from the defaults; a policy file overrides them by name, and may add names to refer to. */
import { refuse } from '../../domain/refusals.ts'
import type { Caller } from '../caller.ts'
import { defaultRules, type PolicyName } from './defaults.ts'
import { type Check, type Credentials, type Facts, PolicySyntaxError, parseRule } from './parse.ts'

export type { PolicyName } from './defaults.ts'

type Asker = Pick<Caller, 'user' | 'roles'> & { readonly project: Caller['project'] | null }

export type Policy = {
  allows(caller: Asker, rule: PolicyName, target?: PolicyTarget): boolean
  /** Refuses with `forbidden` unless allowed. Without a target the caller's own project and user are meant. */
  require(caller: Asker, rule: PolicyName, target?: PolicyTarget): void
}

export type PolicyTarget = { readonly project_id?: string; readonly user_id?: string }

/**
 * Refuses rules that do not parse, refer to what is not there, refer to themselves, or are asked by nobody: a server does not start
 * with them. The last because a name with a slip in it would leave open what its writer meant to close.
 */
export function createPolicy(overrides: Readonly<Record<string, string>> = {}): Policy {
  const texts: Readonly<Record<string, string>> = { ...defaultRules, ...overrides }
  const checks = new Map<string, Check>(Object.entries(texts).map(([name, text]) => [name, parsed(name, text)]))
  for (const name of checks.keys()) refuseCycles(name, texts)
  refuseUnasked(overrides, texts)

  const decide = (name: string, credentials: Credentials, target: Facts): boolean =>
    checks.get(name)?.(credentials, target, (other) => decide(other, credentials, target)) ?? false

  const allows: Policy['allows'] = (caller, rule, target) => {
    const credentials = credentialsOf(caller)
    return decide(rule, credentials, target ?? { project_id: credentials['project_id'], user_id: caller.user })
  }
  return {
    allows,
    require: (caller, rule, target) => {
      if (!allows(caller, rule, target)) throw refuse.forbidden({ rule })
    },
  }
}

const credentialsOf = (caller: Asker): Credentials => ({
  roles: caller.roles,
  user_id: caller.user,
  project_id: caller.project,
  tenant_id: caller.project,
  tenant: caller.project,
  is_admin: caller.roles.includes('admin'),
})

function parsed(name: string, text: string): Check {
  try {
    return parseRule(text)
  } catch (error) {
    if (error instanceof PolicySyntaxError) throw refuse.badPolicy({ why: `in rule ${name}, ${error.message}` })
    throw error
  }
}

const referredTo = (text: string): string[] =>
  [...text.matchAll(/(?<=^|[\s(])rule:([^\s()]+)/g)].flatMap(([, name]) => name ?? [])

function refuseCycles(name: string, texts: Readonly<Record<string, string>>, above: readonly string[] = []): void {
  if (above.includes(name)) throw refuse.badPolicy({ why: `rule ${name} refers to itself, ${[...above, name].join(' -> ')}` })
  const text = texts[name]
  if (text === undefined) throw refuse.badPolicy({ why: `rule ${above.at(-1)} refers to ${name}, which does not exist` })
  for (const other of referredTo(text)) refuseCycles(other, texts, [...above, name])
}

function refuseUnasked(overrides: Readonly<Record<string, string>>, texts: Readonly<Record<string, string>>): void {
  const asked = new Set([...Object.keys(defaultRules), ...Object.values(texts).flatMap(referredTo)])
  const unasked = Object.keys(overrides).filter((name) => !asked.has(name))
  if (unasked.length > 0) {
    throw refuse.badPolicy({
      why: `nothing here asks for ${unasked.join(', ')}, so it would have no effect. Correct the name, or leave it out`,
    })
  }
}
