import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { shortNameOf } from '../../../src/agent/machines/names.ts'
import { QmpClient } from '../../../src/agent/qmp/client.ts'
import { type InstanceId, newId } from '../../../src/domain/ids.ts'
import type { HostEvent, MachineSpec } from '../../../src/ports/host-agent.ts'
import { AgentProcess } from '../../support/agent-process.ts'
import { ask, guestSpec, hard, type Images, importGuest, newDisk, says } from '../../support/real-guest.ts'

let agent: AgentProcess
let images: Images

beforeAll(async () => {
  agent = await AgentProcess.start()
  images = await importGuest(agent)
})
afterAll(() => agent.end())

const machineOf = async (): Promise<MachineSpec> => guestSpec(images, [await newDisk(agent, images, 'vda')])
const view = (instance: InstanceId) => agent.client.host().machine(instance)
const recordOf = async (instance: InstanceId) =>
  JSON.parse(await readFile(join(agent.directory, 'state/agent/machines', instance, 'machine.json'), 'utf8'))

/** What the agent has to tell since it started: all of it comes at once, and what it says of this machine is answered. */
async function eventsNow(instance: InstanceId): Promise<HostEvent[]> {
  const found: HostEvent[] = []
  const enough = new AbortController()
  try {
    for await (const event of agent.client.events(0, AbortSignal.any([enough.signal, AbortSignal.timeout(60_000)]))) {
      if (event.type === 'resync') setTimeout(() => enough.abort(), 500)
      else if (event.instance === instance) found.push(event)
    }
  } catch (error) {
    if (!enough.signal.aborted) throw error
  }
  return found
}

/** Asks QEMU itself, while no agent does. */
async function untilStatus(instance: InstanceId, status: string): Promise<void> {
  const qmp = await QmpClient.connect(join(agent.run, 'm', shortNameOf(instance), 'control'))
  while (!JSON.stringify(await qmp.execute('query-status')).includes(`"status":"${status}"`))
    await new Promise((resolve) => setTimeout(resolve, 50))
  qmp.close()
}

async function restart(): Promise<void> {
  await agent.kill()
  await agent.begin()
}

test('machines outlive the agent and are found again; one that died meanwhile is told', async () => {
  const [stays, dies, stopped] = [await machineOf(), await machineOf(), await machineOf()]
  for (const spec of [stays, dies, stopped]) await agent.host().startMachine(spec)
  await agent.host().stopMachine(stopped.instance, hard)
  const pid = (await recordOf(stays.instance)).process.pid
  const victim = (await recordOf(dies.instance)).process.pid
  await agent.kill()
  process.kill(victim, 'SIGKILL')
  await agent.begin()
  expect(await view(stays.instance)).toMatchObject({ state: 'running', wanted: true })
  expect((await recordOf(stays.instance)).process.pid).toBe(pid)
  expect(await view(dies.instance)).toMatchObject({ state: 'off', wanted: true })
  expect(await view(stopped.instance)).toMatchObject({ state: 'off', wanted: false })
  expect(await eventsNow(dies.instance)).toMatchObject([{ type: 'died', because: 'process' }])
  expect(await eventsNow(stays.instance)).toEqual([])
  await agent.host().startMachine(dies)
  for (const spec of [stays, dies])
    expect(await agent.host().stopMachine(spec.instance, hard)).toEqual({ how: 'hard', clean: false })
})

test('a guest that powers off while no agent is there is told as shut down, not as died', async () => {
  const spec = await machineOf()
  await agent.host().startMachine(spec)
  await says(agent, spec.instance, 'GUEST-READY')
  await agent.kill()
  await ask(agent, spec.instance, '(sleep 0.2; poweroff -f) >/dev/null 2>&1 &')
  await untilStatus(spec.instance, 'shutdown')
  await agent.begin()
  expect(await eventsNow(spec.instance)).toMatchObject([{ type: 'shutdown' }])
  expect(await view(spec.instance)).toMatchObject({ state: 'off', wanted: false })
})

test('a pause is taken back by the next agent; by the same agent only when asked', async () => {
  const spec = await machineOf()
  await agent.host().startMachine(spec)
  await agent.host().pauseMachine(spec.instance)
  await agent.host().pauseMachine(spec.instance)
  expect(await view(spec.instance)).toMatchObject({ state: 'paused', pausedBecause: 'other' })
  await agent.host().resumeMachine(spec.instance)
  await agent.host().resumeMachine(spec.instance)
  expect(await view(spec.instance)).toMatchObject({ state: 'running', pausedBecause: null })
  await agent.host().pauseMachine(spec.instance)
  await restart()
  expect(await view(spec.instance)).toMatchObject({ state: 'running', pausedBecause: null })
  await agent.host().stopMachine(spec.instance, hard)
})

test.each([
  ['agent.start.before-record', 'off', false],
  ['agent.start.before-spawn', 'off', true],
  ['agent.start.after-spawn', 'running', true],
  ['agent.start.after-record', 'running', true],
] as const)('killed at %s the machine is %s, and starting again starts it once', async (failpoint, state, wanted) => {
  const spec = await machineOf()
  await agent.kill()
  await agent.begin(`${failpoint}=kill`)
  await expect(agent.host().startMachine(spec)).rejects.toMatchObject({ code: 'hostUnreachable' })
  await agent.died()
  await agent.begin()
  expect(await view(spec.instance)).toMatchObject({ state, wanted })
  await agent.host().startMachine(spec)
  expect(await view(spec.instance)).toMatchObject({ state: 'running', wanted: true })
  expect(await agent.host().stopMachine(spec.instance, hard)).toEqual({ how: 'hard', clean: false })
})

test.each([
  ['agent.stop.before-record', 'running', true],
  ['agent.stop.after-record', 'running', false],
  ['agent.stop.before-quit', 'running', false],
  ['agent.stop.after-gone', 'off', false],
] as const)('killed at %s the machine is %s, and stopping again stops it', async (failpoint, state, wanted) => {
  const spec = await machineOf()
  await agent.host().startMachine(spec)
  await agent.kill()
  await agent.begin(`${failpoint}=kill`)
  await expect(agent.host().stopMachine(spec.instance, hard)).rejects.toMatchObject({ code: 'hostUnreachable' })
  await agent.died()
  await agent.begin()
  expect(await view(spec.instance)).toMatchObject({ state, wanted })
  await agent.host().stopMachine(spec.instance, hard)
  expect(await view(spec.instance)).toMatchObject({ state: 'off', wanted: false })
})

test('a machine of another boot is told as lost with its host', async () => {
  const spec = await machineOf()
  await agent.host().startMachine(spec)
  const { pid } = (await recordOf(spec.instance)).process
  await agent.kill()
  process.kill(pid, 'SIGKILL')
  const path = join(agent.directory, 'state/agent/machines', spec.instance, 'machine.json')
  const record = await recordOf(spec.instance)
  await writeFile(path, JSON.stringify({ ...record, process: { ...record.process, bootId: newId() } }))
  await agent.begin()
  expect(await eventsNow(spec.instance)).toMatchObject([{ type: 'died', because: 'hostReboot' }])
  await agent.host().stopMachine(spec.instance, hard)
})

test('an epoch is remembered over a restart, and a lower one may not act', async () => {
  const spec = await machineOf()
  const resource = `instance:${spec.instance}`
  await agent.host(resource, 50).startMachine(spec)
  await expect(agent.host(resource, 49).stopMachine(spec.instance, hard)).rejects.toMatchObject({ code: 'staleEpoch' })
  await restart()
  await expect(agent.host(resource, 49).stopMachine(spec.instance, hard)).rejects.toMatchObject({ code: 'staleEpoch' })
  expect(await agent.client.host().machine(spec.instance)).toMatchObject({ state: 'running' })
  await agent.host(resource, 50).stopMachine(spec.instance, hard)
  await expect(agent.client.host().stopMachine(spec.instance, hard)).rejects.toMatchObject({ code: 'malformed' })
})

test('a newer owner ends what an older one has under way', async () => {
  const spec = await machineOf()
  const resource = `instance:${spec.instance}`
  await agent.host(resource, 1).startMachine(spec)
  const slow = agent
    .host(resource, 1)
    .stopMachine(spec.instance, { mode: 'graceful', graceSeconds: 120 })
    .catch((error: unknown) => error)
  await new Promise((resolve) => setTimeout(resolve, 300))
  expect(await agent.host(resource, 2).stopMachine(spec.instance, hard)).toEqual({ how: 'hard', clean: false })
  expect(await slow).toMatchObject({ code: 'staleEpoch' })
})

test('two agents on one box keep to their own machines', async () => {
  const other = await AgentProcess.start()
  try {
    const theirs = await importGuest(other)
    const spec = guestSpec(theirs, [await newDisk(other, theirs, 'vda')])
    const ours = await machineOf()
    await Promise.all([other.host().startMachine(spec), agent.host().startMachine(ours)])
    await restart()
    expect(await view(ours.instance)).toMatchObject({ state: 'running' })
    expect(await view(spec.instance)).toMatchObject({ state: 'off', wanted: false })
    expect(await other.client.host().machine(spec.instance)).toMatchObject({ state: 'running' })
    await agent.host().stopMachine(ours.instance, hard)
  } finally {
    await other.end()
  }
})
