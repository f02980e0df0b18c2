import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type LayerId, newId } from '../../../src/domain/ids.ts'
import type { MachineSpec, PivotOutcome } from '../../../src/ports/host-agent.ts'
import { AgentProcess } from '../../support/agent-process.ts'
import {
  ask,
  graceful,
  guestSpec,
  hard,
  type Images,
  importGuest,
  markOld,
  newDisk,
  newOverlays,
  type Overlays,
  says,
} from '../../support/real-guest.ts'

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

const headsNow = async (): Promise<Readonly<Record<string, LayerId>>> => (await agent.host().machine(spec.instance)).heads

const overlays = (): Promise<Overlays> => newOverlays(agent, spec)
const freezeOld = (disks: Overlays): Promise<void> => markOld(agent, disks)

const pivot = (disks: Overlays, consistency: 'crash' | 'filesystem' = 'crash'): Promise<PivotOutcome> =>
  agent.host().pivot({ instance: spec.instance, disks, consistency, freezeSeconds: 60 })

const headsOf = (disks: Overlays) => Object.fromEntries(disks.map(({ device, to }) => [device, to]))

const writes = (words: string) => ask(agent, spec.instance, `echo ${words} >>/root.txt && echo ${words} >>/data/x.txt && sync`)

test('all disks turn at one moment, and asked again it says so again', async () => {
  await writes('before')
  const disks = await overlays()
  const outcome = await pivot(disks)
  expect(outcome).toMatchObject({ result: 'pivoted', achieved: 'crash', why: null })
  expect(await headsNow()).toEqual(headsOf(disks))
  expect(await pivot(disks)).toEqual(outcome)
  await freezeOld(disks)
  await writes('after')
  await expect(
    agent.host().pivot({
      instance: spec.instance,
      disks: [{ ...disks[0]!, to: newId<LayerId>() }],
      consistency: 'crash',
      freezeSeconds: 1,
    }),
  ).rejects.toMatchObject({ code: 'hostFailure' })
})

test('with the guest agent the file systems are quiet, and write again afterwards', async () => {
  const disks = await overlays()
  expect(await pivot(disks, 'filesystem')).toMatchObject({ result: 'pivoted', achieved: 'filesystem', why: null })
  await freezeOld(disks)
  await writes('thawed')
  expect(await agent.host().machine(spec.instance)).toMatchObject({ state: 'running', pausedBecause: null })
})

test('under writes no acknowledged line is lost', async () => {
  await ask(agent, spec.instance, 'writer start 7')
  const stalls: number[] = []
  for (let n = 0; n < 6; n++) {
    const disks = await overlays()
    const { result, stallMs } = await pivot(disks, n % 2 === 0 ? 'crash' : 'filesystem')
    expect(result).toBe('pivoted')
    stalls.push(stallMs)
    await freezeOld(disks)
  }
  console.log('stalls under writes (crash, filesystem, …), ms', stalls)
  await ask(agent, spec.instance, 'writer stop', 60)
  const said = await ask(agent, spec.instance, 'writer verify; writer status')
  expect(said).not.toMatch(/gap=\d|bad=[1-9]/)
  expect(said).toMatch(/vda|\/data\/writer\.log/)
})

test('an overlay that QEMU cannot open turns no disk, and can be removed', async () => {
  const before = await headsNow()
  const disks = await overlays()
  const broken = disks.map((disk, at) => (at === 1 ? { ...disk, to: newId<LayerId>() } : disk))
  await expect(pivot(broken)).rejects.toMatchObject({ code: 'hostFailure' })
  expect(await headsNow()).toEqual(before)
  const storage = await agent.storage()
  for (const { to } of disks) await storage.remove(to)
})

test.each(['agent.pivot.after-overlays', 'agent.pivot.after-freeze', 'agent.pivot.before-transaction'])(
  'killed at %s nothing was turned; the next agent thaws and lets go of the overlays',
  async (failpoint) => {
    const before = await headsNow()
    await agent.kill()
    await agent.begin(`${failpoint}=kill`)
    const disks = await overlays()
    await expect(pivot(disks, 'filesystem')).rejects.toMatchObject({ code: 'hostUnreachable' })
    await agent.died()
    await agent.begin()
    expect(await headsNow()).toEqual(before)
    await writes(failpoint)
    const storage = await agent.storage()
    for (const { to } of disks) await storage.remove(to)
  },
)

test.each(['agent.pivot.after-transaction', 'agent.pivot.after-thaw', 'agent.pivot.after-record'])(
  'killed at %s everything was turned; repeating it says so, and the guest writes',
  async (failpoint) => {
    await agent.kill()
    await agent.begin(`${failpoint}=kill`)
    const disks = await overlays()
    await expect(pivot(disks, 'filesystem')).rejects.toMatchObject({ code: 'hostUnreachable' })
    await agent.died()
    await agent.begin()
    expect(await headsNow()).toEqual(headsOf(disks))
    expect(await pivot(disks, 'filesystem')).toMatchObject({ result: 'pivoted' })
    await freezeOld(disks)
    await writes(failpoint)
  },
)

test('a guest without an agent is not waited for, and the answer says why', async () => {
  await ask(agent, spec.instance, 'rm /run/qemu-ga.options; killall qemu-ga; sleep 0.3')
  const disks = await overlays()
  const since = performance.now()
  expect(await pivot(disks, 'filesystem')).toMatchObject({ achieved: 'crash', why: 'The guest runs no guest agent.' })
  expect(performance.now() - since).toBeLessThan(20_000)
  await freezeOld(disks)
})

test('a machine that is gone answers gone; all layers are clean', async () => {
  const disks = await overlays()
  const heads = await headsNow()
  expect(await agent.host().stopMachine(spec.instance, graceful)).toEqual({ how: 'graceful', clean: true })
  expect(await pivot(disks)).toMatchObject({ result: 'gone', achieved: 'crash' })
  for (const head of Object.values(heads)) {
    const path = join(agent.directory, 'state/pool/layers', `${head}.qcow2`)
    await promisify(execFile)('qemu-img', ['check', '-q', path])
  }
  await agent.host().stopMachine(spec.instance, hard)
})
