import { execFile } from 'node:child_process'
import { mkdir, rm, stat, statfs, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { HostEvent, MachineSpec } from '../../../src/ports/host-agent.ts'
import { AgentProcess } from '../../support/agent-process.ts'
import { ask, guestSpec, importGuest, MiB, newDisk, says } from '../../support/real-guest.ts'

const run = promisify(execFile)
const mount = join(tmpdir(), `comeback-full-${process.pid}`)
let agent: AgentProcess
let spec: MachineSpec

/** A pool on a file system of its own that can be filled. Only root can mount one. */
const canMount = process.getuid?.() === 0

beforeAll(async () => {
  if (!canMount) return
  await mkdir(mount)
  await run('mount', ['-t', 'tmpfs', '-o', 'size=128m,mode=755', 'tmpfs', mount])
  agent = await AgentProcess.start({ COMEBACK_POOL: join(mount, 'pool') })
  const images = await importGuest(agent)
  const storage = await agent.storage('image:test')
  for (const upload of ['root', 'kernel', 'ramdisk']) await storage.discardUpload(upload)
  spec = guestSpec(images, [await newDisk(agent, images, 'vda'), await newDisk(agent, images, 'vdb')])
  await agent.host().startMachine(spec)
  await says(agent, spec.instance, 'GUEST-READY')
})
afterAll(async () => {
  if (!canMount) return
  await agent.end()
  await run('umount', [mount])
  await rm(mount, { recursive: true })
})

const fill = async (leaveBytes: number): Promise<void> => {
  const { bavail, bsize } = await statfs(mount)
  await writeFile(join(mount, 'filler'), Buffer.alloc(bavail * bsize - leaveBytes, 1))
}
const makeRoom = (): Promise<void> => rm(join(mount, 'filler'), { force: true })

async function nextEvent(after: number, type: HostEvent['type']): Promise<HostEvent> {
  for await (const event of agent.client.events(after, AbortSignal.timeout(60_000))) if (event.type === type) return event
  throw new Error('the events ended')
}

test.runIf(canMount)('a full pool holds the guest; with room it goes on, and the guest saw no error', async () => {
  await fill(4 * MiB)
  const writing = ask(
    agent,
    spec.instance,
    'dd if=/dev/zero of=/data/big bs=1M count=16 conv=fsync 2>&1; sync; echo wrote',
    120,
  )
  const paused = await nextEvent(0, 'paused')
  expect(paused).toMatchObject({ instance: spec.instance, because: 'space' })
  expect(await agent.client.host().machine(spec.instance)).toMatchObject({ state: 'paused', pausedBecause: 'space' })

  // A little room is not enough: it would stop again at once.
  const { size } = await stat(join(mount, 'filler'))
  await truncate(join(mount, 'filler'), size - MiB)
  await new Promise((resolve) => setTimeout(resolve, 2_500))
  expect(await agent.client.host().machine(spec.instance)).toMatchObject({ state: 'paused', pausedBecause: 'space' })

  // A new agent sees why it is held, too.
  await agent.kill()
  await agent.begin()
  expect(await agent.client.host().machine(spec.instance)).toMatchObject({ state: 'paused', pausedBecause: 'space' })

  await makeRoom()
  expect(await nextEvent(0, 'resumed')).toMatchObject({ instance: spec.instance })
  expect(await writing).toMatch(/wrote$/)
  expect(await agent.client.host().machine(spec.instance)).toMatchObject({ state: 'running', pausedBecause: null })
})

test.runIf(canMount)('a held guest that is asked to stop is not waited for', async () => {
  await fill(2 * MiB)
  const writing = ask(agent, spec.instance, 'dd if=/dev/zero of=/data/big2 bs=1M count=16 conv=fsync', 120).catch(() => 'ended')
  for (;;) {
    const { pausedBecause } = await agent.client.host().machine(spec.instance)
    if (pausedBecause === 'space') break
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  const since = performance.now()
  expect(await agent.host().stopMachine(spec.instance, { mode: 'graceful', graceSeconds: 240 })).toEqual({
    how: 'hard',
    clean: false,
  })
  expect(performance.now() - since).toBeLessThan(120_000)
  await makeRoom()
  expect(await writing).toBe('ended')
})
