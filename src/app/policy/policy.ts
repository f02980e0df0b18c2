/** Who may do what. Rules come from the defaults; a policy file overrides them by name, and may add names to refer to. */
import { refuse } from '../../domain/refusals.ts'
import type { Caller } from '../caller.ts'
import { defaultRules, type PolicyName } from './defaults.ts'
import { type Check, type Credentials, type Facts, parseRule } from './parse.ts'

export type { PolicyName } from './defaults.ts'

type Asker = Pick<Caller, 'user' | 'roles'> & { readonly project: Caller['project'] | null }

export type Policy = {
  allows(caller: Asker, rule: PolicyName, target?: PolicyTarget): boolean
  /** Refuses with `forbidden` unless allowed. Without a target the caller's own project and user are meant. */
  require(caller: Asker, rule: PolicyName, target?: PolicyTarget): void
}

export type PolicyTarget = { readonly project_id?: string; readonly user_id?: string }

/** Rejects rules that do not parse, refer to what is not there, or refer to themselves, so that a server does not start with them. */
export function createPolicy(overrides: Readonly<Record<string, string>> = {}): Policy {
  const texts: Readonly<Record<string, string>> = { ...defaultRules, ...overrides }
  const checks = new Map<string, Check>(Object.entries(texts).map(([name, text]) => [name, parseRule(text)]))
  for (const name of checks.keys()) refuseCycles(name, texts)

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

function refuseCycles(name: string, texts: Readonly<Record<string, string>>, above: readonly string[] = []): void {
  if (above.includes(name)) throw new Error(`Policy rule ${name} refers to itself: ${[...above, name].join(' -> ')}`)
  const text = texts[name]
  if (text === undefined) throw new Error(`Policy rule ${above.at(-1)} refers to ${name}, which does not exist`)
  for (const [, other] of text.matchAll(/(?<=^|[\s(])rule:([^\s()]+)/g))
    if (other !== undefined) refuseCycles(other, texts, [...above, name])
}
