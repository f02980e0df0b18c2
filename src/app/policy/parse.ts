/**
 * The rule language of OpenStack's policy files, the part of it that people write:
 *
 *   rule  = ''  |  or            (the empty rule allows)
 *   or    = and { 'or' and }
 *   and   = not { 'and' not }
 *   not   = 'not' not  |  '(' or ')'  |  '@'  |  '!'  |  kind ':' match
 *   kind  = 'role' | 'rule' | an attribute of the caller | a 'quoted' text;  match = text or %(attribute of the target)s
 */
export type Facts = Readonly<Record<string, unknown>>

/** The caller's facts; `roles` is a list, everything else is compared as text. */
export type Credentials = Facts & { readonly roles: readonly string[] }

/** `rules` resolves `rule:name`; a name that is not there refuses. */
export type Check = (credentials: Credentials, target: Facts, rules: (name: string) => boolean) => boolean

export class PolicySyntaxError extends Error {
  override readonly name = 'PolicySyntaxError'
}

const always: Check = () => true
const never: Check = () => false

export function parseRule(text: string): Check {
  const tokens = tokensOf(text)
  if (tokens.length === 0) return always
  let at = 0
  const peek = () => tokens[at]?.toLowerCase()
  const next = () => {
    const token = tokens[at++]
    if (token === undefined) throw new PolicySyntaxError(`'${text}' ends where a check is expected`)
    return token
  }

  function either(): Check {
    const checks = [both()]
    while (peek() === 'or' && next()) checks.push(both())
    return (...facts) => checks.some((check) => check(...facts))
  }
  function both(): Check {
    const checks = [negated()]
    while (peek() === 'and' && next()) checks.push(negated())
    return (...facts) => checks.every((check) => check(...facts))
  }
  function negated(): Check {
    const token = next()
    if (token.toLowerCase() === 'not') {
      const check = negated()
      return (...facts) => !check(...facts)
    }
    if (token === '(') {
      const check = either()
      if (next() !== ')') throw new PolicySyntaxError(`'${text}' has an unclosed parenthesis`)
      return check
    }
    return atom(token, text)
  }

  const check = either()
  if (at < tokens.length) throw new PolicySyntaxError(`'${text}' goes on with '${tokens[at]}' where it should end`)
  return check
}

/** Parentheses stand for themselves unless they belong to `%(name)s`. */
const tokensOf = (text: string): string[] => text.match(/(?:%\([^)]*\)s|'[^']*'|"[^"]*"|[^\s()])+|[()]/g) ?? []

function atom(token: string, text: string): Check {
  if (token === '@') return always
  if (token === '!') return never
  const colon = token.indexOf(':')
  if (colon < 1) throw new PolicySyntaxError(`'${token}' in '${text}' is not a check such as role:member`)
  const kind = token.slice(0, colon)
  const match = token.slice(colon + 1)
  if (kind === 'rule') return (_credentials, _target, rules) => rules(match)
  if (kind === 'role') {
    return ({ roles }, target) => {
      const wanted = filled(match, target)?.toLowerCase()
      return wanted !== undefined && roles.some((role) => role.toLowerCase() === wanted)
    }
  }
  const quoted = /^(['"])(.*)\1$/.exec(kind)?.[2]
  return (credentials, target) => {
    const has = quoted ?? textOf(credentials[kind])
    const wanted = filled(match, target)
    return has !== undefined && wanted !== undefined && has === wanted
  }
}

/** `%(name)s` replaced by the target's facts; undefined when the target has no such fact, which never matches. */
function filled(match: string, target: Facts): string | undefined {
  let missing = false
  const text = match.replace(/%\(([^)]*)\)s/g, (_whole, name: string) => {
    const value = textOf(target[name])
    missing ||= value === undefined
    return value ?? ''
  })
  return missing ? undefined : text
}

/** Python's spelling of booleans: policy files say `is_admin:True`. */
function textOf(value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined
  if (typeof value === 'boolean') return value ? 'True' : 'False'
  return String(value)
}
