/** A QEMU that lives and does not answer may be writing: nobody takes its machine for off, starts it twice or turns its disks. */
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { shortNameOf } from '../../../src/agent/machines/names.ts'
import { type InstanceId, type LayerId, newId } from '../../../src/domain/ids.ts'
import type { MachineSpec, MachineView } from '../../../src/ports/host-agent.ts'
import { AgentProcess } from '../../support/agent-process.ts'
import { guestSpec, hard, type Images, importGuest, newDisk, newLayer, says } from '../../support/real-guest.ts'

let agent: AgentProcess
let images: Images

beforeAll(async () => {
  agent = await AgentProcess.start()
  images = await importGuest(agent)
})
afterAll(() => agent.end())

const machineOf = async (): Promise<MachineSpec> => guestSpec(images, [await newDisk(agent, images, 'vda')])
const view = (instance: InstanceId) => agent.client.host().machine(instance)
const pidOf = async (instance: InstanceId): Promise<number> =>
  JSON.parse(await readFile(join(agent.directory, 'state/agent/machines', instance, 'machine.json'), 'utf8')).process.pid
const isAlive = (pid: number) =>
  readFile(`/proc/${pid}/stat`, 'utf8').then(
    (text) => !text.includes(') Z '),
    () => false,
  )

async function until(what: string, look: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 60_000; Date.now() < end; await pause(100)) if (await look()) return
  throw new Error(`not within a minute: ${what}`)
}
const isState = (instance: InstanceId, state: MachineView['state']) => async () => (await view(instance)).state === state

/** A running machine whose process stands still while a new agent looks for it. */
async function standingStill(): Promise<{ spec: MachineSpec; pid: number }> {
  const spec = await machineOf()
  await agent.host().startMachine(spec)
  const pid = await pidOf(spec.instance)
  await agent.kill()
  process.kill(pid, 'SIGSTOP')
  await agent.begin()
  return { spec, pid }
}

test('it is unknown, neither started again nor turned, and is met when it answers', async () => {
  const { spec, pid } = await standingStill()
  expect(await view(spec.instance)).toMatchObject({ state: 'unknown', heads: {}, wanted: true })
  const said = { code: 'hostFailure', message: expect.stringContaining('lives and does not answer') }
  await expect(agent.host().startMachine(spec)).rejects.toMatchObject(said)
  const [{ device, pool, chain, sizeBytes }] = spec.disks as [MachineSpec['disks'][number]]
  const from = chain.at(-1) as LayerId
  const to = await newLayer(agent, null, sizeBytes)
  const turn = { instance: spec.instance, disks: [{ device, pool, from, to }], consistency: 'crash', freezeSeconds: 1 } as const
  await expect(agent.host().pivot(turn)).rejects.toMatchObject(said)
  await expect(agent.host().forgetMachine(spec.instance)).rejects.toMatchObject(said)
  process.kill(pid, 'SIGCONT')
  await until('it runs', isState(spec.instance, 'running'))
  expect(await pidOf(spec.instance)).toBe(pid)
  expect((await view(spec.instance)).heads).toEqual({ vda: from })
  expect(await agent.host().stopMachine(spec.instance, hard)).toEqual({ how: 'hard', clean: false })
})

test('a stop ends it, and its disks are free', async () => {
  const { spec, pid } = await standingStill()
  await agent.host().stopMachine(spec.instance, hard)
  expect(await isAlive(pid)).toBe(false)
  expect(await view(spec.instance)).toMatchObject({ state: 'off', wanted: false })
  await agent.host().startMachine(spec)
  await agent.host().stopMachine(spec.instance, hard)
})

test('a running one that stands still is unknown for as long, and the others are seen', async () => {
  const [stands, runs] = [await machineOf(), await machineOf()]
  for (const spec of [stands, runs]) await agent.host().startMachine(spec)
  const pid = await pidOf(stands.instance)
  process.kill(pid, 'SIGSTOP')
  const states = (await agent.client.host().machines()).map(({ instance, state }) => [instance, state])
  expect(states).toContainEqual([stands.instance, 'unknown'])
  expect(states).toContainEqual([runs.instance, 'running'])
  process.kill(pid, 'SIGCONT')
  await until('it runs', isState(stands.instance, 'running'))
  for (const spec of [stands, runs]) await agent.host().stopMachine(spec.instance, hard)
})

test('one whose sockets were taken away is ended, told as died, and can be started', async () => {
  const spec = await machineOf()
  await agent.host().startMachine(spec)
  const pid = await pidOf(spec.instance)
  await agent.kill()
  await rm(join(agent.run, 'm', shortNameOf(spec.instance)), { recursive: true })
  await agent.begin()
  expect(await isAlive(pid)).toBe(false)
  expect(await view(spec.instance)).toMatchObject({ state: 'off', wanted: true })
  await agent.host().startMachine(spec)
  await agent.host().stopMachine(spec.instance, hard)
})

test('a guest that was asked to power off while it booted does so once it can hear', async () => {
  const spec = { ...(await machineOf()), instance: newId<InstanceId>() }
  await agent.host().startMachine(spec)
  const asked = performance.now()
  expect(await agent.host().stopMachine(spec.instance, { mode: 'graceful', graceSeconds: 90 })).toEqual({
    how: 'graceful',
    clean: true,
  })
  expect(await agent.client.host().console(spec.instance, null)).toContain('GUEST-SHUTDOWN')
  console.log('asked at power-on, obeyed after', Math.round(performance.now() - asked), 'ms')
  await agent.host().startMachine(spec)
  await says(agent, spec.instance, 'GUEST-READY', 2)
  await agent.host().stopMachine(spec.instance, hard)
})
