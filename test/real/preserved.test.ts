/** What a rollback preserves, field by field, from every state it may start in; and what it replaces: the bytes on the disks. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Installation } from '../support/installation.ts'
import type { OpenStack } from '../support/openstack.ts'
import { nothingOf, portrait } from '../support/portrait.ts'
import { readContent, writeContent } from '../support/two-disks.ts'

const minutes = 60_000

let box: Installation
let cloud: OpenStack
let id: string
let target: { snapshot: string; content: string }
let newer: { snapshot: string; content: string }

beforeAll(async () => {
  box = await Installation.start()
  cloud = await box.logIn()
  const key = {
    keypair: {
      name: 'key',
      public_key: `ssh-ed25519 ${Buffer.from('\0\0\0\x0bssh-ed25519\0\0\0 '.padEnd(51, 'k')).toString('base64')} me`,
    },
  }
  await cloud.post('/compute/v2.1/os-keypairs', key)
  id = await cloud.createServer({
    ...(await box.guestImage()),
    more: {
      key_name: 'key',
      metadata: { role: 'db', 'a key': 'with: a value' },
      tags: ['blue', 'kept'],
      description: 'what it is for',
      user_data: 'IyEvYmluL3NoCg==',
    },
  })
  const shell = box.shell(id)
  const content = await writeContent(shell, 'target')
  target = { snapshot: await cloud.snapshotServer(id, 'target'), content }
  const later = await writeContent(shell, 'newer')
  newer = { snapshot: await cloud.snapshotServer(id, 'newer'), content: later }
}, 10 * minutes)
afterAll(() => box.end())

const statusOf = async () => (await cloud.server(id)).status
const snapshotsOf = async (): Promise<Record<string, unknown>> => {
  const { images } = await cloud.get<{ images: { id: string }[] }>('/image/v2/images?limit=1000')
  const { snapshots } = await cloud.get<{ snapshots: { id: string; name: string }[] }>(cloud.volumePath('/snapshots/detail'))
  return {
    images,
    snapshots: snapshots.filter(({ name }) => !name.startsWith('_xloud_safety_')).toSorted((a, b) => (a.id < b.id ? -1 : 1)),
  }
}

const into = {
  active: async () => void ((await statusOf()) === 'ACTIVE' || (await cloud.startServer(id))),
  shutoff: async () => void ((await statusOf()) === 'SHUTOFF' || (await cloud.stopServer(id))),
  error: async () => {
    if ((await statusOf()) === 'ACTIVE') await cloud.stopServer(id)
    await cloud.act(id, { 'os-resetState': { state: 'error' } })
    await cloud.serverIs(id, 'ERROR')
  },
}

test.each([
  ['active', 'on', 'graceful'],
  ['active', 'off', 'hard'],
  ['shutoff', 'off', 'graceful'],
  ['shutoff', 'on', 'hard'],
  ['error', 'on', 'hard'],
] as const)('from %s, power %s after, stopped %s', { timeout: 10 * minutes }, async (state, power, mode) => {
  await into[state]()
  const [before, listed] = [await portrait(box, cloud, id), await snapshotsOf()]
  expect(before['absent']).toEqual(nothingOf)
  const answer = await cloud.rollBack(id, target.snapshot, { power_state_after: power, stop_mode: mode, stop_timeout: 60 })
  expect(answer).toMatchObject({ state: 'completed', power_state: power, warnings: [] })
  expect(answer.volumes_reverted.map(({ device }) => device)).toEqual(['/dev/vda', '/dev/vdb'])
  expect(answer.safety_snapshot_ids).toHaveLength(2)
  const server = await cloud.serverIs(id, power === 'on' ? 'ACTIVE' : 'SHUTOFF')
  expect(server).not.toHaveProperty('fault')
  expect(await portrait(box, cloud, id)).toEqual(before)
  expect(await snapshotsOf()).toEqual(listed)
  const { ports } = await cloud.get<{ ports: { status: string }[] }>(`/network/v2.0/ports?device_id=${id}`)
  expect(ports.map(({ status }) => status)).toEqual([power === 'on' ? 'ACTIVE' : 'DOWN'])
  if (power === 'off') expect(await box.pids('machines')).toEqual([])
  else expect(await readContent(box.shell(id))).toBe(target.content)
})

test('a snapshot that is newer than the target is still usable', { timeout: 10 * minutes }, async () => {
  await cloud.rollBack(id, newer.snapshot)
  expect(await readContent(box.shell(id))).toBe(newer.content)
})
