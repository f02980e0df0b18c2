/** A demo guest on a real agent: its layers, its spec, and a way to ask it things. */
import { createReadStream } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { shortNameOf } from '../../src/agent/machines/names.ts'
import {
  type ImageId,
  type InstanceId,
  type LayerId,
  newId,
  type OperationId,
  type PointId,
  type PoolId,
  type VolumeId,
} from '../../src/domain/ids.ts'
import { guestKernelArguments } from '../../src/launcher/guest/build.ts'
import type { MachineDisk, MachineSpec } from '../../src/ports/host-agent.ts'
import type { LayerRecord, PointRef } from '../../src/ports/storage-driver.ts'
import type { AgentProcess } from './agent-process.ts'
import { demoGuest } from './bare-guest.ts'

export const MiB = 1024 ** 2

export const layerRecordOf = (
  layer: LayerId,
  pool: PoolId,
  role: LayerRecord['role'],
  sizeBytes: number,
  parent: PointRef | null = null,
): LayerRecord => ({
  format: 1,
  installation: 'test',
  madeBy: newId<OperationId>(),
  layer,
  pool,
  role,
  parent,
  sizeBytes,
  volume: null,
  points: [],
})

export type Images = {
  readonly pool: PoolId
  readonly kernel: ImageId
  readonly ramdisk: ImageId
  readonly root: PointRef
  readonly rootBytes: number
}

/** Brings the demo guest's parts into the agent's pool, as uploads do. */
export async function importGuest(agent: AgentProcess): Promise<Images> {
  const guest = await demoGuest()
  const { id: pool } = await agent.pool()
  const storage = await agent.storage('image:test')
  const put = (name: string, path: string) => agent.client.upload(pool, name, createReadStream(path))
  await Promise.all([put('kernel', guest.kernel), put('ramdisk', guest.ramdisk), put('root', guest.disk)])
  const images = { kernel: newId<ImageId>(), ramdisk: newId<ImageId>() }
  await storage.adoptBlob(images.kernel, 'kernel')
  await storage.adoptBlob(images.ramdisk, 'ramdisk')
  const root = { layer: newId<LayerId>(), point: newId<PointId>() }
  const { sizeBytes } = await storage.importUpload(root.layer, 'root', 'qcow2', layerRecordOf(root.layer, pool, 'image', 0))
  return { pool, ...images, root, rootBytes: sizeBytes }
}

export async function newLayer(agent: AgentProcess, from: PointRef | null, sizeBytes: number): Promise<LayerId> {
  const { id: pool } = await agent.pool()
  const layer = newId<LayerId>()
  await (await agent.storage()).newLayer(layer, from, sizeBytes, layerRecordOf(layer, pool, 'head', sizeBytes, from))
  return layer
}

/** A new disk: the root disk upon the image for `vda`, a blank one for others. */
export async function newDisk(agent: AgentProcess, images: Images, device: string, sizeBytes = 64 * MiB): Promise<MachineDisk> {
  const isRoot = device === 'vda'
  const size = isRoot ? images.rootBytes : sizeBytes
  const head = await newLayer(agent, isRoot ? images.root : null, size)
  const chain = isRoot ? [images.root.layer, head] : [head]
  return { device, volume: newId<VolumeId>(), pool: images.pool, chain, sizeBytes: size }
}

export const guestSpec = (images: Images, disks: readonly MachineDisk[], args = ''): MachineSpec => ({
  instance: newId<InstanceId>(),
  name: 'a guest, with a comma',
  vcpus: 1,
  ramMib: 128,
  disks,
  nic: { mac: 'fa:16:3e:11:22:33', ip: '10.7.3.77', cidr: '10.7.3.0/24', gateway: '10.7.3.1' },
  directBoot: {
    pool: images.pool,
    kernel: images.kernel,
    ramdisk: images.ramdisk,
    args: `${guestKernelArguments} ${args}`.trim(),
  },
})

/** New layers over all heads of a running machine, as the saga prepares them before a pivot. */
export async function newOverlays(agent: AgentProcess, spec: MachineSpec) {
  const { heads } = await agent.host().machine(spec.instance)
  return await Promise.all(
    spec.disks.map(async ({ device, pool, sizeBytes }) => {
      const from = heads[device]
      if (from === undefined) throw new Error(`the machine has no disk ${device}`)
      return { device, pool, from, to: await newLayer(agent, { layer: from, point: newId<PointId>() }, sizeBytes) }
    }),
  )
}
export type Overlays = Awaited<ReturnType<typeof newOverlays>>

/** What a pivot left behind becomes points. */
export async function markOld(agent: AgentProcess, disks: Overlays): Promise<void> {
  const storage = await agent.storage()
  for (const { from, pool } of disks) await storage.mark(from, newId<PointId>(), layerRecordOf(from, pool, 'frozen', 0))
}

const bootMs = 240_000

/** Waits until the console says the word; counts how often if asked. */
export async function says(agent: AgentProcess, instance: InstanceId, word: string, times = 1): Promise<string> {
  const until = Date.now() + bootMs
  for (;;) {
    const text = await agent.client.host().console(instance, null)
    if (text.split(word).length > times) return text
    if (Date.now() > until) throw new Error(`the guest did not say ${word}:\n${text.slice(-2_000)}`)
    await pause(50)
  }
}

/** Has the guest run one shell line; answers what it printed. */
export async function ask(agent: AgentProcess, instance: InstanceId, line: string, seconds = 120): Promise<string> {
  const socket = connect(join(agent.run, 'm', shortNameOf(instance), 'cmd'))
  let text = ''
  const { promise, resolve: done, reject } = Promise.withResolvers<void>()
  const timer = setTimeout(() => reject(new Error(`the guest did not answer '${line}': ${text}`)), seconds * 1000)
  socket.setEncoding('utf8').on('error', reject)
  socket.on('close', () => reject(new Error(`the machine ended while the guest was asked '${line}'`)))
  socket.on('data', (chunk) => {
    text += String(chunk)
    if (/=RC \d+\n/.test(text)) done()
  })
  socket.write(`${line}\n`)
  try {
    await promise
  } finally {
    clearTimeout(timer)
    socket.destroy()
  }
  const code = Number(/=RC (\d+)\n/.exec(text)?.[1])
  if (code !== 0) throw new Error(`'${line}' failed in the guest (${code}): ${text}`)
  return text.replace(/=RC \d+\n[\s\S]*/, '').trimEnd()
}

export const hard = { mode: 'hard', graceSeconds: 0 } as const
export const graceful = { mode: 'graceful', graceSeconds: 30 } as const
