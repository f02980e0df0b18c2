/** An instance with one data disk, made through the compute and volume services. */
import type { Call } from './people.ts'

export async function until<T>(what: string, look: () => Promise<T | undefined | false>): Promise<T> {
  const end = performance.now() + 60_000
  for (;;) {
    const seen = await look()
    if (seen) return seen
    if (performance.now() > end) throw new Error(`${what}: not within 60 s`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

export const serverWhen = (call: Call, id: string, status: string) =>
  until(`server ${id} is ${status}`, async () => {
    const { json } = await call('GET', `/compute/v2.1/servers/${id}`, { headers: { 'openstack-api-version': 'compute 2.90' } })
    return json.server?.status === status && json.server['OS-EXT-STS:task_state'] === null && json.server
  })

export async function makeFlavor(admin: Call): Promise<void> {
  const flavor = { id: 'tiny', name: 'tiny', ram: 64, vcpus: 1, disk: 1 }
  const { status } = await admin('POST', '/compute/v2.1/flavors', { body: { flavor } })
  if (status !== 200) throw new Error(`no flavor: ${status}`)
}

export async function makeImage(call: Call, more: object = {}): Promise<string> {
  const { json } = await call('POST', '/image/v2/images', {
    body: { name: 'disk', disk_format: 'raw', container_format: 'bare', ...more },
  })
  const headers = { 'content-type': 'application/octet-stream' }
  const { status, text } = await call('PUT', `/image/v2/images/${json.id}/file`, { body: Buffer.alloc(4096, 1), headers })
  if (status !== 204) throw new Error(`image not taken: ${text}`)
  return json.id
}

export async function makeServer(call: Call, name: string, more: object = {}): Promise<{ id: string; data: string }> {
  const image = await makeImage(call)
  const made = await call('POST', '/compute/v2.1/servers', {
    body: { server: { name, flavorRef: 'tiny', imageRef: image, ...more } },
  })
  const { id } = made.json.server
  await serverWhen(call, id, 'ACTIVE')
  const data = (await call('POST', '/volume/v3/volumes', { body: { volume: { name: `${name}-data`, size: 1 } } })).json.volume
    .id
  const attached = await call('POST', `/compute/v2.1/servers/${id}/os-volume_attachments`, {
    body: { volumeAttachment: { volumeId: data } },
  })
  if (attached.status !== 200) throw new Error(`not attached: ${attached.text}`)
  return { id, data }
}

export async function makeSnapshot(call: Call, server: string, name: string): Promise<string> {
  const headers = { 'openstack-api-version': 'compute 2.45' }
  const { json } = await call('POST', `/compute/v2.1/servers/${server}/action`, { body: { createImage: { name } }, headers })
  await until(`snapshot ${name}`, async () => (await call('GET', `/image/v2/images/${json.image_id}`)).json.status === 'active')
  return json.image_id
}
