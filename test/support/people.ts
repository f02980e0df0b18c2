/** Users of the product under test, and how they call it. */
import { assignRole, createProject, createUser } from '../../src/app/identity/accounts.ts'
import type { ProjectId, UserId } from '../../src/domain/ids.ts'
import type { Role } from '../../src/ports/tables.ts'
import { adminPassword, type Product } from './product.ts'

export type Answer = {
  readonly status: number
  readonly headers: Readonly<Record<string, unknown>>
  readonly text: string
  readonly json: Json
}
// biome-ignore lint/suspicious/noExplicitAny: answers are looked into by tests that say what they expect there.
export type Json = any
export type CallOptions = { readonly body?: unknown; readonly headers?: Readonly<Record<string, string>> }
export type Call = (method: string, path: string, options?: CallOptions) => Promise<Answer>
export type Person = {
  readonly user: UserId | null
  readonly project: ProjectId | null
  readonly token: string
  readonly call: Call
}

/** A body that is text or bytes is sent as it is. */
export const callWith =
  ({ app }: Pick<Product, 'app'>, token: string | null): Call =>
  async (method, path, { body, headers = {} } = {}) => {
    const raw = typeof body === 'string' || body instanceof Buffer
    const response = await app.inject({
      method: method as 'GET',
      url: path,
      headers: {
        ...(token === null ? {} : { 'x-auth-token': token }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { payload: raw ? body : JSON.stringify(body) }),
    })
    const isJson = String(response.headers['content-type'] ?? '').includes('json')
    return {
      status: response.statusCode,
      headers: response.headers,
      text: response.body,
      json: isJson && response.body ? JSON.parse(response.body) : undefined,
    }
  }

export const passwordLogin = (name: string, password: string, project: string | null) => ({
  auth: {
    identity: { methods: ['password'], password: { user: { name, password, domain: { id: 'default' } } } },
    ...(project === null ? {} : { scope: { project: { name: project, domain: { id: 'default' } } } }),
  },
})

export async function logIn(
  product: Pick<Product, 'app'>,
  name: string,
  password: string,
  project: string | null,
): Promise<string> {
  const { status, headers, text } = await callWith(product, null)('POST', '/identity/v3/auth/tokens', {
    body: passwordLogin(name, password, project),
  })
  if (status !== 201) throw new Error(`no token for ${name}: ${text}`)
  return String(headers['x-subject-token'])
}

export async function administrator(product: Product): Promise<Person> {
  const token = await logIn(product, 'admin', adminPassword, 'admin')
  return { user: null, project: null, token, call: callWith(product, token) }
}

/** A user with one role in a project of that name, made when it is not there. */
export async function person(product: Product, name: string, role: Role, projectName: string): Promise<Person> {
  const found = await product.db.selectFrom('projects').select('id').where('name', '=', projectName).executeTakeFirst()
  const project = found?.id ?? (await createProject(product.db, { name: projectName, description: '', enabled: true })).id
  const { id: user } = await createUser(product.db, {
    name,
    password: `${name}-secret`,
    enabled: true,
    defaultProject: project,
  })
  await assignRole(product.db, user, project, role)
  const token = await logIn(product, name, `${name}-secret`, projectName)
  return { user, project, token, call: callWith(product, token) }
}
