/** Signs in with the identity service and learns from its catalog where the native interface is. */
import { z } from 'zod'
import { Unreachable } from '../../contract/client.ts'
import type { Credentials } from './credentials.ts'
import { exitCodes, Stop } from './exit.ts'

export type SignedIn = { readonly token: string; readonly url: string }

const catalogOf = z.object({
  token: z.object({
    catalog: z
      .array(z.object({ type: z.string(), endpoints: z.array(z.object({ interface: z.string(), url: z.string() })) }))
      .default([]),
  }),
})

const answerWithinMs = 30_000

export async function signIn({ authUrl, proof, project }: Credentials): Promise<SignedIn> {
  const base = authUrl.replace(/\/+$/, '').replace(/\/v3$/, '')
  if ('token' in proof && project.name === undefined && project.id === undefined)
    return { token: proof.token, url: besides(base) }
  const response = await post(`${base}/v3/auth/tokens`, { auth: { identity: identityOf(proof), ...scopeOf(project) } })
  const token = response.headers.get('x-subject-token')
  if (response.status === 401 || response.status === 403) {
    throw new Stop(
      exitCodes.auth,
      'unauthenticated',
      `${authUrl} does not accept these credentials. Check user, password and project.`,
    )
  }
  if (!response.ok || token === null)
    throw new Unreachable(`${authUrl} answered ${response.status}, and not as an identity service does.`)
  const body = catalogOf.safeParse(await response.json().catch(() => null))
  const services = body.success ? body.data.token.catalog : []
  const native = services.find(({ type }) => type === 'comeback')?.endpoints.find((one) => one.interface === 'public')
  return { token, url: native ? native.url.replace(/\/v1\/?$/, '') : besides(base) }
}

/** All faces are served side by side. */
const besides = (base: string) => base.replace(/\/identity$/, '')

const domain = { id: 'default' }

function identityOf(proof: Credentials['proof']) {
  if ('token' in proof) return { methods: ['token'], token: { id: proof.token } }
  const { userId, userName, password } = proof
  const user = userId === undefined ? { name: userName, domain, password } : { id: userId, password }
  return { methods: ['password'], password: { user } }
}

function scopeOf({ id, name }: Credentials['project']) {
  if (id !== undefined) return { scope: { project: { id } } }
  return name === undefined ? {} : { scope: { project: { name, domain } } }
}

async function post(url: string, body: unknown): Promise<Response> {
  try {
    return await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(answerWithinMs),
    })
  } catch (error) {
    throw new Unreachable(`Nothing answers at ${url}. Is the controller running, and is the address right?`, { cause: error })
  }
}
