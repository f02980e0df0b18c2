/** Who gets in, with what, and for how long; and what is hidden from whom. */
import { beforeAll, expect, test } from 'vitest'
import { assignRole, takeRole, updateUser } from '../../src/app/identity/accounts.ts'
import { administrator, callWith, logIn, type Person, passwordLogin, person } from '../support/people.ts'
import { type Product, startProduct } from '../support/product.ts'

let product: Product
let admin: Person
let anna: Person
let otto: Person
beforeAll(async () => {
  product = await startProduct()
  admin = await administrator(product)
  anna = await person(product, 'anna', 'member', 'blue')
  otto = await person(product, 'otto', 'member', 'red')
})

const refused = {
  status: 401,
  json: { error: { code: 401, title: 'Unauthorized', message: 'The request you have made requires authentication.' } },
}

test('a token is answered, kept as a hash only, and replayed word for word', async () => {
  const nobody = callWith(product, null)
  const issued = await nobody('POST', '/identity/v3/auth/tokens', { body: passwordLogin('anna', 'anna-secret', 'blue') })
  expect(issued).toMatchObject({ status: 201, headers: { vary: 'X-Auth-Token' } })
  const token = String(issued.headers['x-subject-token'])
  expect(issued.json.token).toMatchObject({
    methods: ['password'],
    user: { name: 'anna', domain: { id: 'default' } },
    project: { name: 'blue', domain: { id: 'default' } },
    roles: [{ name: 'member' }, { name: 'reader' }],
  })
  expect(issued.json.token.catalog.map(({ type }: { type: string }) => type)).toEqual([
    'identity',
    'compute',
    'volumev3',
    'block-storage',
    'image',
    'network',
    'comeback',
  ])
  const shown = await anna.call('GET', '/identity/v3/auth/tokens', { headers: { 'x-subject-token': token } })
  expect(shown.json).toEqual(issued.json)
  const rows = await product.db.selectFrom('tokens').selectAll().execute()
  expect(JSON.stringify(rows)).not.toContain(token)
})

test('every wrong way in is refused with the same words', async () => {
  const nobody = callWith(product, null)
  const wrong = [
    passwordLogin('anna', 'wrong', 'blue'),
    passwordLogin('nobody', 'anna-secret', 'blue'),
    passwordLogin('anna', 'anna-secret', 'red'),
    passwordLogin('anna', 'anna-secret', 'nowhere'),
    { auth: { identity: { methods: ['token'], token: { id: 'made-up' } } } },
  ]
  for (const body of wrong) {
    const answer = await nobody('POST', '/identity/v3/auth/tokens', { body })
    expect(answer).toMatchObject(refused)
    expect(answer.headers['www-authenticate']).toMatch(/^Keystone uri="http/)
    expect(answer.headers['x-subject-token']).toBeUndefined()
  }
})

test('an unknown user takes as long as a wrong password', async () => {
  const nobody = callWith(product, null)
  const took = async (name: string) => {
    const since = performance.now()
    await nobody('POST', '/identity/v3/auth/tokens', { body: passwordLogin(name, 'wrong', 'blue') })
    return performance.now() - since
  }
  const times = { known: [] as number[], unknown: [] as number[] }
  for (let round = 0; round < 9; round++) {
    times.known.push(await took('anna'))
    times.unknown.push(await took('nobody'))
  }
  // The quickest of each: on a machine that is busy with other things the others say how busy.
  const ratio = Math.min(...times.unknown) / Math.min(...times.known)
  expect(ratio).toBeGreaterThan(0.5)
  expect(ratio).toBeLessThan(2)
})

test('without a project there is a token that finds projects and opens nothing else', async () => {
  const token = await logIn(product, 'anna', 'anna-secret', null)
  expect((await callWith(product, token)('GET', '/identity/v3/auth/projects')).json.projects).toMatchObject([{ name: 'blue' }])
  const issued = await callWith(product, null)('POST', '/identity/v3/auth/tokens', {
    body: { auth: { ...passwordLogin('anna', 'anna-secret', null).auth, scope: 'unscoped' } },
  })
  expect(issued.json.token.project).toBeUndefined()
  const unscoped = callWith(product, String(issued.headers['x-subject-token']))
  expect((await unscoped('GET', '/identity/v3/auth/projects')).status).toBe(200)
  expect((await unscoped('GET', '/compute/v2.1/servers')).status).toBe(403)
})

test('a token ends when it is revoked, expires, its user is disabled or its role is taken', async () => {
  const works = async (token: string) => (await callWith(product, token)('GET', '/compute/v2.1/servers')).status
  const fresh = () => logIn(product, 'anna', 'anna-secret', 'blue')

  const revoked = await fresh()
  expect(await works(revoked)).toBe(200)
  expect((await anna.call('DELETE', '/identity/v3/auth/tokens', { headers: { 'x-subject-token': revoked } })).status).toBe(204)
  expect(await works(revoked)).toBe(401)
  expect((await anna.call('GET', '/identity/v3/auth/tokens', { headers: { 'x-subject-token': revoked } })).status).toBe(404)

  const user = anna.user
  const project = anna.project
  if (!user || !project) throw new Error('anna is somebody')
  const roleless = await fresh()
  await takeRole(product.db, user, project, 'member')
  expect(await works(roleless)).toBe(401)
  await assignRole(product.db, user, project, 'member')

  const disabled = await fresh()
  await updateUser(product.db, user, { enabled: false })
  expect(await works(disabled)).toBe(401)
  await updateUser(product.db, user, { enabled: true })
  expect(await works(disabled)).toBe(401)

  const expiring = await fresh()
  await product.db
    .updateTable('tokens')
    .set({ expires_at: new Date(Date.now() - 1000) })
    .where('user_id', '=', user)
    .execute()
  expect(await works(expiring)).toBe(401)
})

test("another's token is not to be looked at or revoked", async () => {
  const token = await logIn(product, 'anna', 'anna-secret', 'blue')
  const headers = { 'x-subject-token': token }
  expect((await otto.call('GET', '/identity/v3/auth/tokens', { headers })).status).toBe(403)
  expect((await otto.call('DELETE', '/identity/v3/auth/tokens', { headers })).status).toBe(403)
  expect((await admin.call('GET', '/identity/v3/auth/tokens', { headers })).status).toBe(200)
})

test('only an administrator manages people', async () => {
  expect((await otto.call('POST', '/identity/v3/users', { body: { user: { name: 'x', password: 'y' } } })).status).toBe(403)
  expect((await otto.call('GET', '/identity/v3/users')).status).toBe(403)
  const made = await admin.call('POST', '/identity/v3/users', { body: { user: { name: 'carla', password: 'carla-secret' } } })
  expect(made).toMatchObject({ status: 201, json: { user: { name: 'carla', enabled: true, domain_id: 'default' } } })
  expect(made.text).not.toContain('carla-secret')
  expect((await admin.call('POST', '/identity/v3/users', { body: { user: { name: 'carla', password: 'x' } } })).status).toBe(
    409,
  )
  const path = `/identity/v3/users/${made.json.user.id}`
  expect((await admin.call('PATCH', path, { body: { user: { password: 'better' } } })).status).toBe(200)
  expect((await admin.call('DELETE', path)).status).toBe(204)
  expect((await admin.call('GET', path)).status).toBe(404)
})

test('a changed password ends the sessions that the old one opened', async () => {
  const token = await logIn(product, 'otto', 'otto-secret', 'red')
  const call = callWith(product, token)
  const path = `/identity/v3/users/${otto.user}/password`
  expect((await call('POST', path, { body: { user: { original_password: 'wrong', password: 'new' } } })).status).toBe(401)
  expect((await call('POST', path, { body: { user: { original_password: 'otto-secret', password: 'newer' } } })).status).toBe(
    204,
  )
  expect((await call('GET', '/compute/v2.1/servers')).status).toBe(401)
  await expect(logIn(product, 'otto', 'otto-secret', 'red')).rejects.toThrow('no token')
  await logIn(product, 'otto', 'newer', 'red')
})

test('what was asked and what came of it stands in the audit log', async () => {
  const rows = await product.db.selectFrom('audit_log').select(['action', 'outcome']).execute()
  expect(rows).toContainEqual({ action: 'identity:authenticate', outcome: 'accepted' })
  expect(rows).toContainEqual({ action: 'identity:authenticate', outcome: 'unauthenticated' })
  expect(rows).toContainEqual({ action: 'POST /identity/v3/users', outcome: 'forbidden' })
  expect(product.logged.join('')).not.toMatch(/anna-secret|otto-secret|admin-secret/)
})
