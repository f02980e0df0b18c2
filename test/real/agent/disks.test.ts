import { execFile } from 'node:child_process'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { asId, type LayerId, newId, type PointId } from '../../../src/domain/ids.ts'
import type { MachineDisk, MachineSpec } from '../../../src/ports/host-agent.ts'
import type { Merge } from '../../../src/ports/storage-driver.ts'
import { AgentProcess } from '../../support/agent-process.ts'
import {
  ask,
  guestSpec,
  hard,
  type Images,
  importGuest,
  layerRecordOf,
  MiB,
  newDisk,
  newLayer,
  says,
} from '../../support/real-guest.ts'

const run = promisify(execFile)
let agent: AgentProcess
let images: Images
let spec: MachineSpec

beforeAll(async () => {
  agent = await AgentProcess.start()
  images = await importGuest(agent)
  spec = guestSpec(images, [await newDisk(agent, images, 'vda'), await newDisk(agent, images, 'vdb')])
  await agent.host().startMachine(spec)
  await says(agent, spec.instance, 'GUEST-READY')
})
afterAll(() => agent.end())

const guest = (line: string): Promise<string> => ask(agent, spec.instance, line, 60)
const fileOf = (layer: LayerId): string => join(agent.directory, 'state/pool/layers', `${layer}.qcow2`)
const headNow = async (device: string): Promise<LayerId> => (await agent.host().machine(spec.instance)).heads[device]!

test('a disk comes, grows and goes while the guest runs', async () => {
  const disk: MachineDisk = await newDisk(agent, images, 'vdc', 32 * MiB)
  await agent.host().attachDisk(spec.instance, disk)
  await agent.host().attachDisk(spec.instance, disk)
  expect(
    await guest('n=0; while [ ! -b /dev/vdc ] && [ $n -lt 50 ]; do sleep 0.1; n=$((n+1)); done; cat /sys/block/vdc/size'),
  ).toBe('65536')
  await guest('echo hello | dd of=/dev/vdc conv=fsync 2>/dev/null')
  await agent.host().resizeDisk(spec.instance, 'vdc', 48 * MiB)
  expect(await guest('sleep 0.5; cat /sys/block/vdc/size')).toBe('98304')
  await expect(agent.host().resizeDisk(spec.instance, 'vdc', 16 * MiB)).rejects.toMatchObject({ code: 'malformed' })
  expect(await headNow('vdc')).toBe(disk.chain[0])
  const other = await newDisk(agent, images, 'vdc')
  await expect(agent.host().attachDisk(spec.instance, other)).rejects.toMatchObject({ code: 'inUse' })
  await agent.host().detachDisk(spec.instance, 'vdc')
  await agent.host().detachDisk(spec.instance, 'vdc')
  expect(await guest('ls /dev/vdc 2>/dev/null || echo gone')).toBe('gone')
  expect(await (await agent.storage()).hasWriter(disk.chain[0]!)).toBe(false)
  const { stdout } = await run('qemu-io', ['-r', '-c', 'read -v 0 16', fileOf(disk.chain[0]!)])
  expect(stdout).toContain('hello')
})

test('two disks of one machine may share layers', async () => {
  const disk = { ...(await newDisk(agent, images, 'vda')), device: 'vdd' }
  await agent.host().attachDisk(spec.instance, disk)
  await agent.host().detachDisk(spec.instance, 'vdd')
  expect(await guest('cat /etc/hostname >/dev/null 2>&1; ls / | head -1')).not.toBe('')
})

test('a disk that does not fit the running machine is refused with what to do', async () => {
  const disk = { ...(await newDisk(agent, images, 'vdb')), device: 'vdz' }
  await expect(agent.host().attachDisk(spec.instance, disk)).rejects.toMatchObject({
    code: 'hostFailure',
    message: expect.stringContaining('stop it'),
  })
})

/** The data disk gets three more layers, each with a file of its own and a changed block of one that all share. */
async function chainOfFour(): Promise<LayerId[]> {
  const chain = [await headNow('vdb')]
  for (let n = 0; n < 3; n++) {
    await guest(
      `dd if=/dev/urandom of=/data/f${n} bs=64k count=40 2>/dev/null; dd if=/dev/urandom of=/data/shared bs=64k seek=${n} count=2 conv=notrunc 2>/dev/null; sync`,
    )
    const from = chain.at(-1)!
    const to = await newLayer(agent, { layer: from, point: newId<PointId>() }, 64 * MiB)
    await agent.host().pivot({
      instance: spec.instance,
      disks: [{ device: 'vdb', from, to, pool: images.pool }],
      consistency: 'crash',
      freezeSeconds: 1,
    })
    await (await agent.storage()).mark(from, newId<PointId>(), layerRecordOf(from, images.pool, 'frozen', 0))
    chain.push(to)
  }
  return chain
}

const merge = (plan: Merge, signal?: AbortSignal): Promise<void> =>
  agent.host().mergeLive(spec.instance, 'vdb', images.pool, plan, signal)
const sums = (): Promise<string> =>
  guest('sync; echo 3 >/proc/sys/vm/drop_caches; cd /data; md5sum f0 f1 f2 shared writer.log 2>/dev/null | grep -v writer')
/** The layer's whole content as its own file and those below say it, from outside of QEMU. */
async function contentOf(layer: LayerId): Promise<string> {
  const { stdout } = await run('sh', [
    '-c',
    `qemu-img convert -U -O raw ${fileOf(layer)} ${agent.directory}/out.raw && md5sum <${agent.directory}/out.raw`,
  ])
  return stdout
}
const mayWrite = async (layer: LayerId): Promise<boolean> => ((await stat(fileOf(layer))).mode & 0o200) !== 0
const backingOf = async (layer: LayerId): Promise<string> =>
  JSON.parse((await run('qemu-img', ['info', '-U', '--output=json', fileOf(layer)])).stdout)['backing-filename']

/** The layers that the files name, the lowest first, and this one. */
async function layersBelow(head: LayerId): Promise<LayerId[]> {
  const { stdout } = await run('qemu-img', ['info', '-U', '--backing-chain', '--output=json', fileOf(head)])
  const files: { filename: string }[] = JSON.parse(stdout)
  return files.map(({ filename }) => asId<LayerId>(filename.slice(-42, -6))).toReversed()
}

test('pull: a layer in the middle takes in the one below; then the head does; every byte stays', async () => {
  const [a, b, c, d] = (await chainOfFour()) as [LayerId, LayerId, LayerId, LayerId]
  const before = await sums()
  const point = await contentOf(c)
  await guest('writer start 1')
  await merge({ lower: b, upper: c, base: a, direction: 'pull' })
  await merge({ lower: b, upper: c, base: a, direction: 'pull' })
  expect(await contentOf(c)).toBe(point)
  expect(await backingOf(c)).toBe(`${a}.qcow2`)
  expect(await mayWrite(c)).toBe(false)
  await (await agent.storage()).remove(b)
  await merge({ lower: c, upper: d, base: a, direction: 'pull' })
  expect(await headNow('vdb')).toBe(d)
  expect(await backingOf(d)).toBe(`${a}.qcow2`)
  await (await agent.storage()).remove(c)
  await merge({ lower: a, upper: d, base: null, direction: 'pull' })
  expect(await backingOf(d)).toBeUndefined()
  await (await agent.storage()).remove(a)
  await guest('writer stop')
  expect(await guest('writer verify')).not.toMatch(/gap=\d|bad=[1-9]/)
  expect(await sums()).toBe(before)
})

test('push: a layer goes down in the middle; then the head does, and the disk goes on in the lower one', async () => {
  const [a, b, c, d] = (await chainOfFour()) as [LayerId, LayerId, LayerId, LayerId]
  const before = await sums()
  await guest('writer start 2')
  await merge({ lower: a, upper: b, base: null, direction: 'push' })
  expect(await backingOf(c)).toBe(`${a}.qcow2`)
  expect([await mayWrite(a), await mayWrite(c)]).toEqual([false, false])
  await (await agent.storage()).remove(b)
  await merge({ lower: c, upper: d, base: a, direction: 'push' })
  await merge({ lower: c, upper: d, base: a, direction: 'push' })
  expect(await headNow('vdb')).toBe(c)
  expect(await mayWrite(c)).toBe(true)
  expect(await agent.host().machine(spec.instance)).toMatchObject({ state: 'running' })
  await (await agent.storage()).remove(d)
  await guest('writer stop')
  expect(await guest('writer verify')).not.toMatch(/gap=\d|bad=[1-9]/)
  expect(await sums()).toBe(before)
  const to = await newLayer(agent, { layer: c, point: newId<PointId>() }, 64 * MiB)
  const disks = [{ device: 'vdb', from: c, to, pool: images.pool }]
  expect(await agent.host().pivot({ instance: spec.instance, disks, consistency: 'crash', freezeSeconds: 1 })).toMatchObject({
    result: 'pivoted',
  })
})

test.each(['agent.merge.after-job', 'agent.merge.before-finalize', 'agent.merge.after-finalize', 'agent.merge.after-record'])(
  'killed at %s the next agent leaves no job; merging again ends it, and every byte stays',
  async (failpoint) => {
    for (const direction of ['pull', 'push'] as const) {
      const chain = await chainOfFour()
      const [c, d] = [chain.at(-2)!, chain.at(-1)!]
      const before = await sums()
      await agent.kill()
      await agent.begin(`${failpoint}=kill`)
      const plan: Merge = { lower: c, upper: d, base: chain.at(-3)!, direction }
      await expect(merge(plan)).rejects.toMatchObject({ code: 'hostUnreachable' })
      await agent.died()
      await agent.begin()
      expect(await agent.host().machine(spec.instance)).toMatchObject({ state: 'running' })
      await merge(plan)
      expect(await headNow('vdb')).toBe(direction === 'pull' ? d : c)
      await (await agent.storage()).remove(direction === 'pull' ? c : d)
      expect(await sums()).toBe(before)
      await guest('echo on >>/data/more; sync')
    }
  },
)

test('killed at the end of a push in the middle, the next agent knows that it happened', async () => {
  const chain = await chainOfFour()
  const [b, c, d] = [chain.at(-3)!, chain.at(-2)!, chain.at(-1)!]
  const before = await sums()
  await agent.kill()
  await agent.begin('agent.merge.after-finalize=kill')
  const plan: Merge = { lower: b, upper: c, base: chain.at(-4)!, direction: 'push' }
  await expect(merge(plan)).rejects.toMatchObject({ code: 'hostUnreachable' })
  await agent.died()
  await agent.begin()
  await merge(plan)
  expect(await backingOf(d)).toBe(`${b}.qcow2`)
  expect([await mayWrite(b), await mayWrite(d)]).toEqual([false, true])
  await (await agent.storage()).remove(c)
  expect(await sums()).toBe(before)
  await merge({ lower: b, upper: d, base: chain.at(-4)!, direction: 'pull' })
  expect(await sums()).toBe(before)
})

test('a push of the head whose end fails holds the guest until merging again ends it', async () => {
  const chain = await chainOfFour()
  const [c, d] = [chain.at(-2)!, chain.at(-1)!]
  const before = await sums()
  await agent.kill()
  await agent.begin('agent.merge.after-finalize=error')
  const plan: Merge = { lower: c, upper: d, base: chain.at(-3)!, direction: 'push' }
  await expect(merge(plan)).rejects.toThrow()
  expect(await agent.host().machine(spec.instance)).toMatchObject({ state: 'paused', heads: { vdb: c } })
  await merge(plan)
  expect(await agent.host().machine(spec.instance)).toMatchObject({ state: 'running', heads: { vdb: c } })
  await expect(stat(fileOf(d))).rejects.toThrow('ENOENT')
  expect(await sums()).toBe(before)
})

test.each([
  ['pull', 'upper', 1],
  ['push', 'lower', 2],
] as const)('a %s whose machine died at its end is ended by the storage', async (direction, left, starts) => {
  const chain = await chainOfFour()
  const plan: Merge = { lower: chain.at(-2)!, upper: chain.at(-1)!, base: chain.at(-3)!, direction }
  await guest('sync')
  const before = await contentOf(plan.upper)
  await agent.kill()
  await agent.begin('agent.merge.after-finalize=error')
  await expect(merge(plan)).rejects.toThrow()
  await agent.host().stopMachine(spec.instance, hard)
  await (await agent.storage()).merge(plan)
  expect(await contentOf(plan[left])).toBe(before)
  expect(await backingOf(plan[left])).toBe(`${plan.base}.qcow2`)
  const below = await layersBelow(plan[left])
  const disks = spec.disks.map((disk) => (disk.device === 'vdb' ? { ...disk, chain: below } : disk))
  await agent.host().startMachine({ ...spec, disks })
  await says(agent, spec.instance, 'GUEST-READY', starts + 1)
})

test('a merge that its caller gives up is cancelled, and nothing is changed', async () => {
  const chain = await chainOfFour()
  const before = await sums()
  const plan: Merge = { lower: chain.at(-3)!, upper: chain.at(-2)!, base: chain.at(-4)!, direction: 'pull' }
  const giveUp = new AbortController()
  const merging = merge(plan, giveUp.signal).catch((error: unknown) => error)
  await new Promise((resolve) => setTimeout(resolve, 20))
  giveUp.abort()
  await merging
  await guest('true')
  expect(await sums()).toBe(before)
  await merge(plan)
  expect(await mayWrite(chain.at(-2)!)).toBe(false)
  expect(await sums()).toBe(before)
  await agent.host().stopMachine(spec.instance, hard)
  await run('qemu-img', ['check', '-q', fileOf(chain.at(-1)!)])
})
