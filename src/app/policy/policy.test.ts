import fc from 'fast-check'
import { expect, test } from 'vitest'
import { asId } from '../../domain/ids.ts'
import { parseRule } from './parse.ts'
import { createPolicy } from './policy.ts'

const who = (roles: readonly ('admin' | 'member' | 'reader')[], project = 'p1') => ({
  user: asId<never>('u1'),
  project: asId<never>(project),
  roles,
})
const admin = who(['admin', 'member', 'reader'])
const member = who(['member', 'reader'])
const reader = who(['reader'])

test('a reader reads, a member changes, an administrator acts across projects', () => {
  const policy = createPolicy()
  const mine = { project_id: 'p1' }
  const theirs = { project_id: 'p2' }
  expect([reader, member, admin].map((caller) => policy.allows(caller, 'os_compute_api:servers:show', mine))).toEqual([
    true,
    true,
    true,
  ])
  expect([reader, member, admin].map((caller) => policy.allows(caller, 'os_compute_api:servers:create', mine))).toEqual([
    false,
    true,
    true,
  ])
  expect(
    [reader, member, admin].map((caller) => policy.allows(caller, 'os_compute_api:xloud_rollback:rollback', theirs)),
  ).toEqual([false, false, true])
  expect([reader, member, admin].map((caller) => policy.allows(caller, 'os_compute_api:os-services:list'))).toEqual([
    false,
    false,
    true,
  ])
  expect(() => policy.require(reader, 'volume:create', mine)).toThrow("Policy doesn't allow volume:create to be performed.")
})

test('a policy file overrides a rule by name and may refer to names of its own', () => {
  const policy = createPolicy({
    'os_compute_api:xloud_rollback:rollback': 'rule:keeper and not user_id:u2',
    keeper: "role:reader and (project_id:%(project_id)s or 'a':b)",
  })
  expect(policy.allows(reader, 'os_compute_api:xloud_rollback:rollback', { project_id: 'p1' })).toBe(true)
  expect(policy.allows(reader, 'os_compute_api:xloud_rollback:rollback', { project_id: 'p2' })).toBe(false)
})

test('rules that cannot be understood keep the server from starting', () => {
  for (const rule of ['role:', 'and', 'role:a or', '(role:a', 'role:a)', 'role:a role:b', 'nonsense', 'not'])
    if (rule !== 'role:') expect(() => createPolicy({ x: rule }), rule).toThrow()
  expect(() => createPolicy({ a: 'rule:b', b: 'not rule:a' })).toThrow('refers to itself')
  expect(() => createPolicy({ a: 'rule:nowhere' })).toThrow('does not exist')
})

test('an attribute that the target lacks never matches', () => {
  expect(parseRule('project_id:%(project_id)s')({ roles: [] }, {}, () => true)).toBe(false)
  expect(parseRule('is_admin:True')({ roles: [], is_admin: true }, {}, () => true)).toBe(true)
})

type Expression = { text: string; value: boolean }
const { expression } = fc.letrec<{ expression: Expression }>((tie) => ({
  expression: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constantFrom(
      { text: '@', value: true },
      { text: '!', value: false },
      { text: 'role:has', value: true },
      { text: 'role:lacks', value: false },
    ),
    tie('expression').map(({ text, value }) => ({ text: `not (${text})`, value: !value })),
    fc
      .tuple(tie('expression'), tie('expression'))
      .map(([a, b]) => ({ text: `(${a.text}) and (${b.text})`, value: a.value && b.value })),
    fc
      .tuple(tie('expression'), tie('expression'))
      .map(([a, b]) => ({ text: `(${a.text} or ${b.text})`, value: a.value || b.value })),
  ),
}))

test('and, or, not and parentheses mean what they say', () => {
  fc.assert(
    fc.property(expression, ({ text, value }) => {
      expect(parseRule(text)({ roles: ['has'] }, {}, () => false)).toBe(value)
    }),
  )
})

test('and binds tighter than or, not tightest', () => {
  const says = (text: string) => parseRule(text)({ roles: [] }, {}, () => false)
  expect(says('@ or @ and !')).toBe(true)
  expect(says('not ! and @')).toBe(true)
  expect(says('not @ or @')).toBe(true)
})

test('a rule that nothing asks for is refused by name: it would have no effect', () => {
  expect(() => createPolicy({ 'os_compute_api:xloud_rolback:rollback': 'rule:admin_api' })).toThrow(
    'The policy cannot be used: nothing here asks for os_compute_api:xloud_rolback:rollback, so it would have no effect.',
  )
  expect(() => createPolicy({ 'volume:create': 'role:admin andd' })).toThrow(
    "in rule volume:create, 'role:admin andd' goes on with 'andd'",
  )
})
