/** A small OpenStack client for tests: every answer whole, and waits that look instead of sleeping. */
import { setTimeout as sleep } from 'node:timers/promises'
import { endedStates } from '../../src/domain/operation.ts'

type Json = Record<string, unknown>
export type Answer<Body = Json> = { readonly status: number; readonly body: Body; readonly headers: Headers }
export type Call = {
  readonly headers?: Readonly<Record<string, string>>
  readonly microversion?: string
  readonly signal?: AbortSignal
}
export type Server = Json & { readonly id: string; readonly status: string }
export type Rollback = {
  readonly state: string
  readonly safety_snapshot_ids: readonly string[]
  readonly volumes_reverted: readonly { volume_id: string; device: string; elapsed_seconds: number }[]
  readonly duration_seconds: number
  readonly operation_id: string
  readonly request_id: string
  readonly power_state: 'on' | 'off'
  readonly warnings: readonly unknown[]
}

const newest = '2.95'
const patienceMs = 240_000

export class OpenStack {
  readonly url: string
  readonly #token: string
  readonly project: string

  private constructor(url: string, token: string, project: string) {
    this.url = url
    this.#token = token
    this.project = project
  }

  static async logIn(url: string, name: string, password: string, project: string): Promise<OpenStack> {
    const domain = { id: 'default' }
    const identity = { methods: ['password'], password: { user: { name, password, domain } } }
    const answer = await fetch(`${url}/identity/v3/auth/tokens`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ auth: { identity, scope: { project: { name: project, domain } } } }),
      signal: AbortSignal.timeout(patienceMs),
    })
    const token = answer.headers.get('x-subject-token')
    const { token: issued } = (await answer.json()) as { token?: { project: { id: string } } }
    if (token === null || issued === undefined) throw new Error(`no token was issued: ${answer.status}`)
    return new OpenStack(url, token, issued.project.id)
  }

  /** Whatever the answer is. */
  async ask<Body = Json>(method: string, path: string, body?: unknown, call: Call = {}): Promise<Answer<Body>> {
    const version = call.microversion ?? newest
    const answer = await fetch(`${this.url}${path}`, {
      method,
      headers: {
        'x-auth-token': this.#token,
        'x-openstack-nova-api-version': version,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...call.headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.any([AbortSignal.timeout(patienceMs), ...(call.signal ? [call.signal] : [])]),
    })
    const text = await answer.text()
    return { status: answer.status, headers: answer.headers, body: parsed(text) as Body }
  }

  /** The body of a good answer; any other is an error with the answer's words. */
  async get<Body = Json>(path: string, call?: Call): Promise<Body> {
    return good('GET', path, await this.ask<Body>('GET', path, undefined, call))
  }
  async post<Body = Json>(path: string, body: unknown, call?: Call): Promise<Body> {
    return good('POST', path, await this.ask<Body>('POST', path, body, call))
  }
  async remove(path: string, call?: Call): Promise<void> {
    good('DELETE', path, await this.ask('DELETE', path, undefined, call))
  }

  server = async (id: string): Promise<Server> => (await this.get<{ server: Server }>(`/compute/v2.1/servers/${id}`)).server
  action = (id: string, action: Json, call?: Call): Promise<Answer> =>
    this.ask('POST', `/compute/v2.1/servers/${id}/action`, action, call)
  act = async <Body = Json>(id: string, action: Json, call?: Call): Promise<Body> =>
    good('POST', Object.keys(action).join(), (await this.action(id, action, call)) as Answer<Body>)

  /** Resolves when the server has the status and nothing is being done to it. */
  async serverIs(id: string, status: string): Promise<Server> {
    return await until(`server ${id} to be ${status}`, async () => {
      const server = await this.server(id)
      if (server.status === 'ERROR' && status !== 'ERROR') throw new Error(`server ${id}: ${JSON.stringify(server['fault'])}`)
      return server.status === status && server['OS-EXT-STS:task_state'] === null ? server : null
    })
  }

  /** A running server with the image's disk and so many blank data disks of 1 GiB. */
  async createServer(given: { image: string; flavor: string; dataDisks?: number; more?: Json }): Promise<string> {
    const disk = (index: number, more: Json) => ({ destination_type: 'volume', boot_index: index, volume_size: 1, ...more })
    const blanks = Array.from({ length: given.dataDisks ?? 1 }, () => disk(-1, { source_type: 'blank' }))
    const root = disk(0, { source_type: 'image', uuid: given.image })
    const mapping = [root, ...blanks].map((one) => ({ ...one, delete_on_termination: true }))
    const server = { name: 'guest', flavorRef: given.flavor, networks: 'auto', block_device_mapping_v2: mapping, ...given.more }
    const made = await this.post<{ server: { id: string } }>('/compute/v2.1/servers', { server })
    await this.serverIs(made.server.id, 'ACTIVE')
    return made.server.id
  }

  async stopServer(id: string): Promise<void> {
    await this.act(id, { 'os-stop': null })
    await this.serverIs(id, 'SHUTOFF')
  }
  async startServer(id: string): Promise<void> {
    await this.act(id, { 'os-start': null })
    await this.serverIs(id, 'ACTIVE')
  }

  /** Id of the instance snapshot, once it is active and its instance is free again. */
  async snapshotServer(id: string, name: string): Promise<string> {
    const { image_id: image } = await this.act<{ image_id: string }>(id, { createImage: { name } })
    await until(`snapshot ${name} to be active`, async () => {
      const { status } = await this.get<{ status: string }>(`/image/v2/images/${image}`)
      if (status === 'killed' || status === 'deleted') throw new Error(`snapshot ${name} is ${status}`)
      return status === 'active' || null
    })
    await until(`server ${id} to be free`, async () => (await this.server(id))['OS-EXT-STS:task_state'] === null || null)
    return image
  }

  async rollBack(id: string, snapshot: string | readonly string[], more: Json = {}, call?: Call): Promise<Rollback> {
    const body = { 'xloud-rollback': { snapshot_id: snapshot, stop_mode: 'hard', ...more } }
    return (await this.act<{ xloud_rollback: Rollback }>(id, body, call)).xloud_rollback
  }
  async preflight(id: string, snapshot: string | readonly string[], more: Json = {}): Promise<Json> {
    const body = { 'xloud-rollback-dry-run': { snapshot_id: snapshot, ...more } }
    return (await this.act<{ xloud_rollback_dry_run: Json }>(id, body)).xloud_rollback_dry_run
  }

  /** Ids of the attached volumes, by device: `{ vda, vdb }`. */
  async disks(id: string): Promise<Record<string, string>> {
    type Attachments = { volumeAttachments: { volumeId: string; device: string }[] }
    const { volumeAttachments } = await this.get<Attachments>(`/compute/v2.1/servers/${id}/os-volume_attachments`)
    return Object.fromEntries(volumeAttachments.map(({ device, volumeId }) => [device.replace('/dev/', ''), volumeId]))
  }

  volumePath = (path: string): string => `/volume/v3/${this.project}${path}`

  async volumeIs(id: string, status: string): Promise<void> {
    await until(`volume ${id} to be ${status}`, async () => {
      const { volume } = await this.get<{ volume: { status: string } }>(this.volumePath(`/volumes/${id}`))
      if (volume.status === 'error') throw new Error(`volume ${id} is in error`)
      return volume.status === status || null
    })
  }

  async operationEnds(id: string): Promise<Json & { readonly state: string }> {
    return await until(`operation ${id} to end`, async () => {
      const found = await this.get<Json & { state: string }>(`/v1/operations/${id}`)
      return endedStates.some((state) => state === found.state) ? found : null
    })
  }
}

/** The image service says what is wrong in HTML, as Glance does. */
const parsed = (text: string): unknown => (text === '' ? {} : text.startsWith('<') ? { html: text } : JSON.parse(text))

function good<Body>(method: string, path: string, { status, body }: Answer<Body>): Body {
  if (status >= 200 && status < 300) return body
  throw new Error(`${method} ${path} was answered ${status}: ${JSON.stringify(body)}`)
}

/** Looks until it is there. */
export async function until<T>(what: string, look: () => Promise<T | null>, withinMs = patienceMs): Promise<T> {
  for (const end = Date.now() + withinMs; ; await sleep(100)) {
    const found = await look()
    if (found !== null) return found
    if (Date.now() > end) throw new Error(`waited ${withinMs / 1000} s in vain for ${what}`)
  }
}
