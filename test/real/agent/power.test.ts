import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type InstanceId, newId } from '../../../src/domain/ids.ts'
import type { HostEvent } from '../../../src/ports/host-agent.ts'
import { AgentProcess } from '../../support/agent-process.ts'
import { ask, graceful, guestSpec, hard, type Images, importGuest, newDisk, says } from '../../support/real-guest.ts'

let agent: AgentProcess
let images: Images

beforeAll(async () => {
  agent = await AgentProcess.start()
  images = await importGuest(agent)
})
afterAll(() => agent.end())

const machineOf = async () => guestSpec(images, [await newDisk(agent, images, 'vda'), await newDisk(agent, images, 'vdb')])
const pidOf = async (instance: InstanceId): Promise<number> =>
  JSON.parse(await readFile(join(agent.directory, 'state/agent/machines', instance, 'machine.json'), 'utf8')).process.pid

async function nextEvent(type: HostEvent['type'], instance: InstanceId): Promise<HostEvent> {
  for await (const event of agent.client.events(0, AbortSignal.timeout(60_000)))
    if (event.type === type && event.type !== 'resync' && event.instance === instance) return event
  throw new Error('the events ended')
}

test('a machine starts unprivileged, has its address, answers, and stops gracefully', async () => {
  const spec = await machineOf()
  const host = agent.host()
  await host.startMachine(spec)
  await host.startMachine(spec)
  expect(await host.machine(spec.instance)).toMatchObject({
    state: 'running',
    wanted: true,
    heads: { vda: spec.disks[0]?.chain.at(-1), vdb: spec.disks[1]?.chain.at(-1) },
  })
  const status = await readFile(`/proc/${await pidOf(spec.instance)}/status`, 'utf8')
  expect(status).toMatch(/NoNewPrivs:\t1/)
  expect(status).toMatch(/Seccomp:\t2/)
  if (process.getuid?.() === 0) {
    expect(status).not.toMatch(/Uid:\t0/)
    expect(status).toMatch(/CapBnd:\t0000000000000000/)
  }
  await says(agent, spec.instance, 'GUEST-READY')
  await says(agent, spec.instance, 'GUEST-IP 10.7.3.77')
  expect(await ask(agent, spec.instance, 'cat /sys/class/net/eth0/address')).toBe('fa:16:3e:11:22:33')
  expect(await ask(agent, spec.instance, 'cat /sys/block/vdb/serial')).toBe(spec.disks[1]?.volume.slice(0, 20))
  expect(await host.stopMachine(spec.instance, graceful)).toEqual({ how: 'graceful', clean: true })
  expect(await host.machine(spec.instance)).toMatchObject({ state: 'off', wanted: false, heads: {} })
  expect(await host.stopMachine(spec.instance, graceful)).toEqual({ how: 'off', clean: true })
  const driver = await agent.storage()
  expect(await driver.hasWriter(spec.disks[0]!.chain.at(-1)!)).toBe(false)
})

test('a hard stop is quick and lets go of the disks; a start after it is quick too', async () => {
  const spec = await machineOf()
  const host = agent.host()
  const times: { start: number; stop: number }[] = []
  for (let n = 0; n < 5; n++) {
    const begun = performance.now()
    await host.startMachine(spec)
    const started = performance.now()
    expect(await host.stopMachine(spec.instance, hard)).toEqual({ how: 'hard', clean: false })
    times.push({ start: Math.round(started - begun), stop: Math.round(performance.now() - started) })
    expect(await (await agent.storage()).hasWriter(spec.disks[0]!.chain.at(-1)!)).toBe(false)
  }
  console.log('start and hard stop, ms', times)
  expect(Math.min(...times.map(({ start }) => start))).toBeLessThan(2_000)
  expect(Math.min(...times.map(({ stop }) => stop))).toBeLessThan(1_000)
})

test('a guest that powers off by itself is told as an event and is not wanted any more', async () => {
  const spec = await machineOf()
  await agent.host().startMachine(spec)
  await says(agent, spec.instance, 'GUEST-READY')
  await ask(agent, spec.instance, '(sleep 0.2; poweroff -f) >/dev/null 2>&1 &')
  await nextEvent('shutdown', spec.instance)
  expect(await agent.host().machine(spec.instance)).toMatchObject({ state: 'off', wanted: false })
})

test('a machine whose process is killed is told as died and stays wanted', async () => {
  const spec = await machineOf()
  await agent.host().startMachine(spec)
  process.kill(await pidOf(spec.instance), 'SIGKILL')
  expect(await nextEvent('died', spec.instance)).toMatchObject({ because: 'process' })
  expect(await agent.host().machine(spec.instance)).toMatchObject({ state: 'off', wanted: true })
  await agent.host().startMachine(spec)
  expect(await agent.host().stopMachine(spec.instance, hard)).toEqual({ how: 'hard', clean: false })
})

test('a reset is a new process with the same machine', async () => {
  const spec = await machineOf()
  await agent.host().startMachine(spec)
  await says(agent, spec.instance, 'GUEST-READY')
  const before = await pidOf(spec.instance)
  await agent.host().resetMachine(spec.instance)
  expect(await pidOf(spec.instance)).not.toBe(before)
  await says(agent, spec.instance, 'GUEST-READY', 2)
  await agent.host().stopMachine(spec.instance, hard)
})

test('a second machine on the same head is refused by the disk itself', async () => {
  const spec = await machineOf()
  await agent.host().startMachine(spec)
  const twin = { ...spec, instance: newId<InstanceId>() }
  await expect(agent.host('instance:twin').startMachine(twin)).rejects.toMatchObject({ code: 'diskHeldOpen' })
  expect(await agent.host().machine(twin.instance)).toMatchObject({ state: 'off', wanted: false })
  await expect(agent.host().startMachine({ ...spec, disks: spec.disks.slice(0, 1) })).rejects.toMatchObject({
    code: 'hostFailure',
  })
  await agent.host().stopMachine(spec.instance, hard)
})

test('what a machine that cannot start says holds no path of the host', async () => {
  const spec = await machineOf()
  const missing = { ...spec.disks[0]!, chain: [newId<never>()] }
  const failed = await agent
    .host()
    .startMachine({ ...spec, disks: [missing] })
    .catch((error: unknown) => error)
  expect(failed).toMatchObject({ code: 'hostFailure', message: expect.stringContaining('No such file') })
  expect(String(failed)).not.toMatch(/\/tmp|\/proc/)
})

test("the socket is the agent user's alone, and forgetting leaves nothing", async () => {
  expect((await stat(join(agent.run, 'agent.sock'))).mode & 0o777).toBe(0o600)
  expect((await stat(agent.run)).mode & 0o777).toBe(0o700)
  const spec = await machineOf()
  await agent.host().startMachine(spec)
  await expect(agent.host().forgetMachine(spec.instance)).rejects.toMatchObject({ code: 'inUse' })
  await agent.host().stopMachine(spec.instance, hard)
  await agent.host().forgetMachine(spec.instance)
  await agent.host().forgetMachine(spec.instance)
  await expect(stat(join(agent.directory, 'state/agent/machines', spec.instance))).rejects.toThrow('ENOENT')
  expect((await agent.client.host().machines()).map(({ instance }) => instance)).not.toContain(spec.instance)
})
