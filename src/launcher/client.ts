/** A client of our own OpenStack face, as small as the launcher needs it. */
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { z } from 'zod'
import { Refusal, refuse } from '../domain/refusals.ts'
import type { Access } from './credentials.ts'

export type Call = { readonly body?: unknown; readonly headers?: Readonly<Record<string, string>>; readonly seconds?: number }

export type Client = {
  readonly get: (path: string) => Promise<unknown>
  readonly post: (path: string, call: Call) => Promise<unknown>
  readonly remove: (path: string) => Promise<void>
  readonly upload: (path: string, file: string) => Promise<void>
}

const scoped = (password: string) => ({
  auth: {
    identity: { methods: ['password'], password: { user: { name: 'admin', password, domain: { id: 'default' } } } },
    scope: { project: { name: 'admin', domain: { id: 'default' } } },
  },
})

export async function logIn({ url, password }: Pick<Access, 'url' | 'password'>): Promise<Client> {
  const issued = await send(`${url}/identity/v3/auth/tokens`, { method: 'POST', body: JSON.stringify(scoped(password)) }).catch(
    (error: unknown) => {
      if (error instanceof Refusal && error.facts['status'] === 401) throw refuse.setup({ why: lockedOut })
      throw error
    },
  )
  const token = issued.headers.get('x-subject-token')
  await issued.body?.cancel()
  if (token === null) throw new Error('the identity service issued no token')
  const authorized = { 'x-auth-token': token, accept: 'application/json' }
  const ask = async (method: string, path: string, { body, headers, seconds }: Call = {}) => {
    const json =
      body === undefined
        ? {}
        : { body: JSON.stringify(body), headers: { ...authorized, 'content-type': 'application/json', ...headers } }
    const answer = await send(`${url}${path}`, { method, headers: { ...authorized, ...headers }, ...json }, seconds)
    const text = await answer.text()
    return text === '' ? null : (JSON.parse(text) as unknown)
  }
  return {
    get: (path) => ask('GET', path),
    post: (path, call) => ask('POST', path, call),
    remove: async (path) => void (await ask('DELETE', path)),
    upload: async (path, file) => {
      const { size } = await stat(file)
      const headers = { ...authorized, 'content-type': 'application/octet-stream', 'content-length': String(size) }
      const body = Readable.toWeb(createReadStream(file))
      const answer = await send(`${url}${path}`, { method: 'PUT', headers, body, duplex: 'half' }, 600)
      await answer.body?.cancel()
    },
  }
}

const lockedOut =
  "admin's password is not what admin-password in the state directory says. Write the present one there, or make another: npm run password"

const fault = z.record(z.string(), z.object({ message: z.string() }).loose())

async function send(url: string, init: RequestInit & { duplex?: 'half' }, seconds = 120): Promise<Response> {
  const headers = { 'content-type': 'application/json', ...init.headers }
  const answer = await fetch(url, { ...init, headers, signal: AbortSignal.timeout(seconds * 1000) })
  if (answer.ok) return answer
  const text = await answer.text()
  const parsed = fault.safeParse(parse(text))
  const why = parsed.success ? Object.values(parsed.data)[0]?.message : text.slice(0, 300)
  throw refuse.setup({
    why: `${init.method ?? 'GET'} ${new URL(url).pathname} was answered ${answer.status}: ${why}`,
    status: answer.status,
  })
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}
