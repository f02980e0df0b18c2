/** The story's requests: those that any client of the OpenStack interface would send. */
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { refuse } from '../../domain/refusals.ts'
import type { Client } from '../client.ts'
import { createServer } from '../seed.ts'

const named = z.object({ id: z.string() })
const compute = '/compute/v2.1/servers'
const patienceSeconds = 300

export type Rollback = { readonly safety: readonly string[]; readonly seconds: number }
export type Stage = {
  readonly server: string
  readonly snapshot: (name: string) => Promise<string>
  readonly rollBack: (to: string | readonly string[]) => Promise<Rollback>
  readonly isListed: (snapshot: string) => Promise<boolean>
}
/** What has to be taken away at the end, also when the story broke off. */
export type Props = { servers: string[]; images: string[]; volumes: string[] }

/** An instance with two disks, as its own requests see it. Everything made is noted in `props` at once. */
export async function setStage(client: Client, image: string, flavorRef: string, props: Props): Promise<Stage> {
  const disk = { destination_type: 'volume', volume_size: 1, delete_on_termination: true }
  const server = await createServer(
    client,
    {
      name: `story-${crypto.randomUUID().slice(0, 8)}`,
      flavorRef,
      metadata: { comeback_demo: 'story' },
      block_device_mapping_v2: [
        { ...disk, source_type: 'image', uuid: image, boot_index: 0 },
        { ...disk, source_type: 'blank', boot_index: -1 },
      ],
    },
    (id) => props.servers.push(id),
  )
  const attachments = z.object({ volumeAttachments: z.array(z.object({ volumeId: z.string() })) })
  const { volumeAttachments } = attachments.parse(await client.get(`${compute}/${server}/os-volume_attachments`))
  props.volumes.push(...volumeAttachments.map(({ volumeId }) => volumeId))
  const act = (body: object, headers = {}) => client.post(`${compute}/${server}/action`, { body, headers, seconds: 900 })
  return {
    server,
    snapshot: async (name) => {
      const versioned = { 'x-openstack-nova-api-version': '2.45' }
      const made = z.object({ image_id: z.string() }).parse(await act({ createImage: { name } }, versioned)).image_id
      props.images.push(made)
      await until(`The snapshot ${name}`, () => isActive(client, made))
      await until('The instance', () => isFree(client, server))
      return made
    },
    rollBack: async (to) => {
      const answer = await act({ 'xloud-rollback': { snapshot_id: to, stop_mode: 'hard', power_state_after: 'on' } })
      const { state, safety_snapshot_ids: safety, duration_seconds: seconds } = rolledBack.parse(answer).xloud_rollback
      if (state !== 'completed') throw refuse.setup({ why: `The rollback ended as ${state}.` })
      return { safety, seconds }
    },
    isListed: async (snapshot) => {
      const { images } = z
        .object({ images: z.array(z.object({ id: z.string(), status: z.string() })) })
        .parse(await client.get('/image/v2/images?limit=1000'))
      return images.some(({ id, status }) => id === snapshot && status === 'active')
    },
  }
}

const rolledBack = z.object({
  xloud_rollback: z.object({ state: z.string(), safety_snapshot_ids: z.array(z.string()), duration_seconds: z.number() }),
})

const isActive = async (client: Client, image: string): Promise<boolean> => {
  const { status } = z.object({ status: z.string() }).parse(await client.get(`/image/v2/images/${image}`))
  if (status === 'killed' || status === 'deleted') throw refuse.setup({ why: 'The snapshot could not be taken.' })
  return status === 'active'
}

const isFree = async (client: Client, server: string): Promise<boolean> => {
  const found = z.object({ server: z.object({ 'OS-EXT-STS:task_state': z.string().nullable() }) })
  return found.parse(await client.get(`${compute}/${server}`)).server['OS-EXT-STS:task_state'] === null
}

/** The instance first: its disks outlive it because they have snapshots. Then the snapshots, then the disks with what is left on them. */
export async function clearStage(client: Client, props: Props): Promise<void> {
  await removeAll(client, compute, 'servers', props.servers)
  await removeAll(client, '/image/v2/images', 'images', props.images)
  await removeAll(client, '/volume/v3/volumes', 'volumes', props.volumes, '?cascade=true')
}

async function removeAll(client: Client, path: string, noun: string, ids: readonly string[], query = ''): Promise<void> {
  const left = async (): Promise<string[]> => {
    const list = z.record(z.string(), z.unknown()).parse(await client.get(`${path}?limit=1000`))
    return z
      .array(named)
      .parse(list[noun])
      .map(({ id }) => id)
      .filter((id) => ids.includes(id))
  }
  for (const id of await left()) await patiently(() => client.remove(`${path}/${id}${query}`))
  await until(`What the story made (${noun})`, async () => (await left()).length === 0)
}

/** Something may still be going on with it: the operation that holds it ends, and then it can go. */
async function patiently(work: () => Promise<void>): Promise<void> {
  for (const end = Date.now() + 60_000; ; await sleep(500)) {
    try {
      return await work()
    } catch (error) {
      if (Date.now() > end) throw error
    }
  }
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + patienceSeconds * 1000; Date.now() < end; await sleep(100)) if (await holds()) return
  throw refuse.setup({ why: `${what} took longer than ${patienceSeconds} s.` })
}
