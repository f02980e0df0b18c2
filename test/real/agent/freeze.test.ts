/** What a snapshot of a real guest achieves, whatever its agent does before, while and after its file systems are frozen. */
import { access, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { runDirectoryOf } from '../../../src/agent/protocol.ts'
import { askGuest } from '../../../src/agent/qmp/guest-agent.ts'
import type { Consistency } from '../../../src/domain/volume.ts'
import type { MachineSpec, PivotOutcome } from '../../../src/ports/host-agent.ts'
import { AgentProcess } from '../../support/agent-process.ts'
import { eventually } from '../../support/killing/breakable.ts'
import { ask, guestSpec, importGuest, markOld, newDisk, newOverlays, says } from '../../support/real-guest.ts'

const hooks = 'echo -F/etc/qemu/fsfreeze-hook >/run/qemu-ga.options'

let agent: AgentProcess
let points: string
let spec: MachineSpec

beforeAll(async () => {
  points = await mkdtemp(join(tmpdir(), 'comeback-points-'))
  agent = await AgentProcess.start({ COMEBACK_FAILPOINTS_DIR: points })
  const images = await importGuest(agent)
  spec = guestSpec(images, [await newDisk(agent, images, 'vda'), await newDisk(agent, images, 'vdb')])
  await agent.host().startMachine(spec)
  await says(agent, spec.instance, 'GUEST-READY')
  await answers()
})
afterAll(async () => {
  await agent.end()
  await rm(points, { recursive: true, force: true })
})

const guest = (line: string, seconds?: number): Promise<string> => ask(agent, spec.instance, line, seconds)
const view = () => agent.host().machine(spec.instance)

/** The guest's agent is started again, with these options or not at all. */
async function restartAgent(options: string | null): Promise<void> {
  await guest(`killall -q -9 qemu-ga; ${options ?? 'rm -f /run/qemu-ga.options'}; true`)
  if (options === null) await eventually('no guest agent', async () => (await guest('pidof qemu-ga || echo none')) === 'none')
  else await answers()
}

/** A line that kills the guest's agent and waits for the next one; while it is frozen, nobody else can talk with it. */
const renewAgent =
  'old=$(pidof qemu-ga); killall -9 qemu-ga; until new=$(pidof qemu-ga) && [ "$new" != "$old" ]; do sleep 0.05; done; sleep 1'

const answers = (): Promise<unknown> =>
  eventually('the guest agent to answer', async () => {
    await askGuest(runDirectoryOf(agent.run, spec.instance), {
      command: 'guest-ping',
      deadlineMs: 1_000,
      answers: true,
    })
    return true
  })

/** Whatever a test did to it, the guest is thawed afterwards and its agent runs its hooks. */
afterEach(async () => {
  await guest('killall -q -CONT qemu-ga; rm -f /run/hook-* /run/fsfreeze-hook.log; true')
  await restartAgent(hooks)
  await eventually('a machine that is not held', async () => (await view()).state === 'running')
  await guest('echo written >>/root.txt && echo written >>/data/x.txt && sync')
})

type Asked = { readonly seconds?: number; readonly inBetween?: () => Promise<unknown> }

/** Snapshots all disks; `inBetween` runs when the guest is frozen and nothing is turned yet. */
async function pivot(consistency: Consistency, { seconds = 60, inBetween }: Asked = {}): Promise<PivotOutcome> {
  const disks = await newOverlays(agent, spec)
  if (inBetween) await arm('agent.pivot.before-transaction')
  const outcome = agent.host().pivot({ instance: spec.instance, disks, consistency, freezeSeconds: seconds })
  if (inBetween) {
    await Promise.race([reached('agent.pivot.before-transaction'), outcome])
    await inBetween()
    await rm(join(points, 'agent.pivot.before-transaction.reached'), { force: true })
  }
  const result = await outcome
  await markOld(agent, disks)
  return result
}

async function arm(point: string): Promise<void> {
  await writeFile(join(points, `.${point}`), 'pause')
  await rename(join(points, `.${point}`), join(points, point))
}
const reached = (point: string) =>
  eventually(`${point} to be reached`, () =>
    access(join(points, `${point}.reached`)).then(
      () => true,
      () => false,
    ),
  )

const hookLog = async (): Promise<string[]> =>
  (await guest('cat /run/fsfreeze-hook.log 2>/dev/null || true')).split('\n').map((line) => line.split(' ')[0] ?? '')

test('where the guest agent runs a freeze hook, what is achieved is `application`; the hook ran before and after', async () => {
  expect(await pivot('application')).toMatchObject({ result: 'pivoted', achieved: 'application', why: null })
  expect(await hookLog()).toEqual(['freeze', 'thaw'])
})

test('asked only for file systems, no more is claimed', async () => {
  expect(await pivot('filesystem')).toMatchObject({ achieved: 'filesystem', why: null })
})

test.each([
  ['without a hook', 'echo >/run/qemu-ga.options', /runs no freeze hook/],
  ['without leave to read files', `echo -F -b guest-file-open >/run/qemu-ga.options`, /does not let it be seen/],
])('an agent %s achieves `filesystem`, and it is said why', async (_, options, why) => {
  await restartAgent(options)
  expect(await pivot('application')).toMatchObject({ achieved: 'filesystem', why: expect.stringMatching(why) })
  expect((await pivot('filesystem')).why).toBeNull()
})

test('a hook that fails is a refused freeze, in the words of the guest agent', async () => {
  await guest(`printf '#!/bin/sh\\nexit 3\\n' >/run/hook-freeze; chmod +x /run/hook-freeze`)
  expect(await pivot('application')).toMatchObject({ achieved: 'crash', why: expect.stringContaining('failed with status 3') })
  expect((await view()).state).toBe('running')
})

test('a hook that is not there is a refused freeze', async () => {
  await restartAgent('echo -F/nowhere >/run/qemu-ga.options')
  expect(await pivot('application')).toMatchObject({ achieved: 'crash', why: expect.stringContaining('/nowhere') })
})

test('a hook that fails after the thaw does not make the guest count as frozen', async () => {
  await guest(`printf '#!/bin/sh\\nexit 4\\n' >/run/hook-thaw; chmod +x /run/hook-thaw`)
  expect(await pivot('application')).toMatchObject({ achieved: 'application' })
  expect((await view()).state).toBe('running')
})

test('no guest agent: `crash`, at once', async () => {
  await restartAgent(null)
  const since = performance.now()
  expect(await pivot('application')).toMatchObject({ achieved: 'crash', why: 'The guest runs no guest agent.' })
  expect(performance.now() - since).toBeLessThan(30_000)
})

test('an agent that hangs before it is frozen: `crash` when the time is over, and nothing is owed', async () => {
  await guest('killall -STOP qemu-ga')
  const since = performance.now()
  expect(await pivot('application', { seconds: 2 })).toMatchObject({
    achieved: 'crash',
    why: 'The guest agent did not answer.',
  })
  expect(performance.now() - since).toBeLessThan(30_000)
  expect((await view()).state).toBe('running')
})

test('an agent that is killed while frozen and comes back frozen: the freeze held, and it thaws', async () => {
  const outcome = await pivot('application', { inBetween: () => guest(renewAgent) })
  expect(outcome).toMatchObject({ achieved: 'application', why: null })
})

test('a guest that was thawed and whose agent knows nothing of the freeze: `crash`', async () => {
  const thawed = 'for folder in / /data; do fsfreeze --unfreeze $folder; done; rm /run/*isfrozen*'
  const outcome = await pivot('application', { inBetween: () => guest(`${thawed}; ${renewAgent}`) })
  expect(outcome).toMatchObject({ achieved: 'crash', why: expect.stringMatching(/was thawed by somebody else/) })
})

test('one file system that somebody thaws in between: `crash`', async () => {
  const outcome = await pivot('application', { inBetween: () => guest('fsfreeze --unfreeze /data') })
  expect(outcome).toMatchObject({ achieved: 'crash', why: expect.stringMatching(/Some of the guest’s file systems/) })
})

test('an agent that stops answering after the freeze: `crash`, held until it answers again and thaws', async () => {
  const outcome = await pivot('application', { inBetween: () => guest('killall -STOP qemu-ga') })
  expect(outcome).toMatchObject({ achieved: 'crash', why: expect.stringMatching(/not known whether the freeze held/) })
  expect(await view()).toMatchObject({ state: 'paused', pausedBecause: 'freeze' })
  expect(await pivot('application')).toMatchObject({ achieved: 'crash', why: expect.stringMatching(/earlier freeze/) })
})

test('an agent that is gone for good after the freeze: held until there is one again', async () => {
  const outcome = await pivot('application', { inBetween: () => restartAgent(null) })
  expect(outcome).toMatchObject({ achieved: 'crash' })
  expect(await view()).toMatchObject({ state: 'paused', pausedBecause: 'freeze' })
})

test.each([
  ['while the thaw is waited for', 4],
  ['long after', 20],
])('a freeze that comes back late, %s: `crash` within the time, and the guest is thawed', async (_, hookSeconds) => {
  await guest(`printf '#!/bin/sh\\nsleep ${hookSeconds}\\n: >/run/froze-late\\n' >/run/hook-freeze; chmod +x /run/hook-freeze`)
  const since = performance.now()
  const outcome = await pivot('application', { seconds: 2 })
  expect(performance.now() - since).toBeLessThan(18_000)
  expect(outcome).toMatchObject({ achieved: 'crash', why: expect.stringMatching(/did not freeze the file systems in time/) })
  await guest('while [ ! -e /run/froze-late ]; do sleep 0.1; done; rm /run/froze-late')
  await eventually('the thaw', async () => (await hookLog()).includes('thaw'))
})

test('turning that takes longer than the guest may be frozen: it is thawed before, and it is `crash`', async () => {
  const outcome = await pivot('application', {
    seconds: 8,
    inBetween: () => new Promise((resolve) => setTimeout(resolve, 8_100)),
  })
  expect(outcome).toMatchObject({ achieved: 'crash', why: expect.stringMatching(/longer than the guest may stay frozen/) })
})

test.each(['agent.pivot.after-freeze', 'agent.pivot.before-transaction', 'agent.pivot.after-transaction'])(
  'our own agent killed at %s: the next one thaws',
  async (point) => {
    await arm(point)
    const disks = await newOverlays(agent, spec)
    const lost = expect(
      agent.host().pivot({ instance: spec.instance, disks, consistency: 'application', freezeSeconds: 60 }),
    ).rejects.toMatchObject({ code: 'hostUnreachable' })
    await Promise.race([reached(point), lost])
    await agent.kill()
    await lost
    await rm(join(points, `${point}.reached`))
    await agent.begin()
    await eventually('the guest to write', () => guest('echo again >>/data/x.txt && sync && echo yes'))
    expect(await hookLog()).toEqual(['freeze', 'thaw'])
    const heads = Object.values((await view()).heads)
    if (disks.every(({ to }) => heads.includes(to))) return markOld(agent, disks)
    const storage = await agent.storage()
    for (const { to } of disks) await storage.remove(to)
  },
)
