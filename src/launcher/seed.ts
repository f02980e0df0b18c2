/**
 * Fills a new installation with what one wants to try at once: the demo guest's images, flavors, one running instance. It asks
 * the API like any client, once: what a user deletes afterwards stays deleted.
 */
import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { refuse } from '../domain/refusals.ts'
import { type Client, logIn } from './client.ts'
import type { Access } from './credentials.ts'
import { type DemoGuest, ensureDemoGuest, guestKernelArguments } from './guest/build.ts'
import type { Places } from './places.ts'
import { say, step } from './say.ts'

export const demoImage = 'comeback-demo'
const demoServer = 'demo'

const flavors = [
  { name: 'demo.tiny', vcpus: 1, ram: 128, disk: 1 },
  { name: 'demo.small', vcpus: 1, ram: 512, disk: 5 },
  { name: 'demo.medium', vcpus: 2, ram: 2048, disk: 20 },
] as const

/** Resolves with the name of the demo instance. Without network for the guest's parts, Comeback serves all the same. */
export async function seedDemo(up: Access & { readonly places: Places }): Promise<string> {
  const mark = join(up.places.state, 'seeded.json')
  if (await readFile(mark).catch(() => null)) return demoServer
  const guest = await step('Building the demo guest', () => ensureDemoGuest(join(up.places.state, 'guest'))).catch(noGuest)
  if (guest === null) return demoServer
  const client = await logIn(up)
  const image = await step('Registering the demo image', () => ensureDemoImage(client, guest))
  const flavor = await step('Registering flavors', () => ensureFlavors(client))
  const server = await step('Starting the demo instance', () => ensureServer(client, image, flavor))
  await writeFile(`${mark}.new`, `${JSON.stringify({ image, flavor, server })}\n`)
  await rename(`${mark}.new`, mark)
  return demoServer
}

function noGuest(error: Error): null {
  if (error.name !== 'Refusal') throw error
  say(`There is no demo instance: ${error.message}`)
  return null
}

const named = z.object({ id: z.string(), name: z.string() })
const image = z.object({ id: z.string(), status: z.string(), comeback_guest: z.string().optional() })
const images = z.object({ images: z.array(image) })

/** The demo guest as three images: a kernel, a ramdisk, and the disk that names both. Resolves with the disk's id. */
export async function ensureDemoImage(client: Client, guest: DemoGuest): Promise<string> {
  const kernel = await ensureImage(client, guest, `${demoImage}-kernel`, 'aki', guest.kernel, {})
  const ramdisk = await ensureImage(client, guest, `${demoImage}-ramdisk`, 'ari', guest.ramdisk, {})
  const properties = {
    kernel_id: kernel,
    ramdisk_id: ramdisk,
    os_command_line: guestKernelArguments,
    hw_qemu_guest_agent: 'yes',
  }
  return await ensureImage(client, guest, demoImage, 'qcow2', guest.disk, properties)
}

async function ensureImage(
  client: Client,
  guest: DemoGuest,
  name: string,
  format: 'aki' | 'ari' | 'qcow2',
  file: string,
  properties: object,
): Promise<string> {
  const known = images.parse(await client.get(`/image/v2/images?name=${encodeURIComponent(name)}`)).images
  const usable = known.find(({ status, comeback_guest }) => status === 'active' && comeback_guest === guest.key)
  if (usable) return usable.id
  for (const { id, status } of known) if (status === 'queued') await client.remove(`/image/v2/images/${id}`) // a start was cut off here
  const formats = { disk_format: format, container_format: format === 'qcow2' ? 'bare' : format }
  const body = { name, visibility: 'public', ...formats, comeback_guest: guest.key, ...properties }
  const { id } = image.parse(await client.post('/image/v2/images', { body }))
  await client.upload(`/image/v2/images/${id}/file`, file)
  await until(120, `image ${name}`, async () => {
    const { status } = image.parse(await client.get(`/image/v2/images/${id}`))
    if (status === 'killed' || status === 'deleted') throw refuse.setup({ why: `The image ${name} was not accepted.` })
    return status === 'active'
  })
  return id
}

/** Resolves with the id of the smallest. */
export async function ensureFlavors(client: Client): Promise<string> {
  const list = z.object({ flavors: z.array(named) })
  const known = new Map(list.parse(await client.get('/compute/v2.1/flavors')).flavors.map(({ name, id }) => [name, id]))
  for (const flavor of flavors) {
    if (known.has(flavor.name)) continue
    const made = z.object({ flavor: named }).parse(await client.post('/compute/v2.1/flavors', { body: { flavor } }))
    known.set(flavor.name, made.flavor.id)
  }
  return known.get(flavors[0].name) ?? ''
}

const server = z.object({
  server: z.object({ id: z.string(), status: z.string(), fault: z.object({ message: z.string() }).optional() }),
})

async function ensureServer(client: Client, imageRef: string, flavorRef: string): Promise<string> {
  const list = z.object({ servers: z.array(named) })
  const known = list.parse(await client.get(`/compute/v2.1/servers?name=%5E${demoServer}%24`)).servers
  const existing = known.find(({ name }) => name === demoServer)?.id
  return existing ?? (await createServer(client, { name: demoServer, imageRef, flavorRef }))
}

/** Creates a server and waits until it runs; its id is told as soon as there is one. `networks: auto` needs microversion 2.37. */
export async function createServer(
  client: Client,
  properties: object,
  onMade: (id: string) => void = () => {},
): Promise<string> {
  const headers = { 'openstack-api-version': 'compute 2.37', 'x-openstack-nova-api-version': '2.37' }
  const body = { server: { networks: 'auto', ...properties } }
  const { id } = z
    .object({ server: z.object({ id: z.string() }) })
    .parse(await client.post('/compute/v2.1/servers', { body, headers })).server
  onMade(id)
  await until(180, `instance ${id}`, async () => {
    const { status, fault } = server.parse(await client.get(`/compute/v2.1/servers/${id}`)).server
    if (status === 'ERROR')
      throw refuse.setup({ why: `The instance could not be started: ${fault?.message ?? 'no reason was given'}` })
    return status === 'ACTIVE'
  })
  return id
}

async function until(seconds: number, what: string, holds: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + seconds * 1000; Date.now() < end; await sleep(100)) if (await holds()) return
  throw refuse.setup({ why: `The ${what} was not ready within ${seconds} s.` })
}
