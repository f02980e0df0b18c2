/** The database is lost, or is an old copy: nothing that it does not know is harmed, and the pools give the present back. */
import { execFile } from 'node:child_process'
import { copyFile, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Installation } from '../support/installation.ts'
import { type OpenStack, until } from '../support/openstack.ts'
import { readContent, writeContent } from '../support/two-disks.ts'

const root = new URL('../../', import.meta.url).pathname
const minutes = 60_000

let box: Installation
let cloud: OpenStack
let guest: { image: string; flavor: string }

beforeAll(async () => {
  box = await Installation.start({ COMEBACK_DUMP_SECONDS: '2' })
  cloud = await box.logIn()
  guest = await box.guestImage()
}, 5 * minutes)
afterAll(() => box.end())

const run = async (script: string, ...args: string[]): Promise<string> => {
  const { PATH = '' } = process.env
  const env = { PATH, ...box.environment, OS_CLIENT_CONFIG_FILE: join(box.state, 'clouds.yaml'), OS_CLOUD: 'comeback' }
  const { stdout } = await promisify(execFile)(process.execPath, [join(root, script), ...args], { env, timeout: 3 * minutes })
  return stdout
}

const recover = async (): Promise<Record<string, unknown>> => {
  const said = JSON.parse(await run('src/cli/main.ts', 'recover', '--from-pools', '--yes', '-o', 'json'))
  return said.operations[0].result
}

const dumpsOf = async (): Promise<string[]> =>
  (await readdir(join(box.state, 'pool/database')).catch(() => [])).filter((name) => name.endsWith('.dump')).sort()

/** A dump that was begun after now. */
async function nextDump(): Promise<string> {
  const before = (await dumpsOf()).at(-1) ?? ''
  const seen = await until('the next dump', async () => (await dumpsOf()).find((name) => name > before) ?? null)
  const name = await until('the dump after it', async () => (await dumpsOf()).find((one) => one > seen) ?? null)
  const kept = join(box.state, 'kept.dump')
  await copyFile(join(box.state, 'pool/database', name), kept)
  return kept
}

const named = async (kind: 'safety' | 'instance'): Promise<string[]> => {
  const { items } = await cloud.get<{ items: { id: string; state: string }[] }>(
    `/v1/volume-snapshots?kind=${kind}&limit=1000&all_projects=true`,
  )
  return items
    .filter(({ state }) => state === 'available')
    .map(({ id }) => id)
    .sort()
}

test('a dump taken three rollbacks ago: nothing starts on old disks, and recover gives back the present', {
  timeout: 20 * minutes,
}, async () => {
  const id = await cloud.createServer(guest)
  const shell = box.shell(id)
  const contentA = await writeContent(shell, 'A')
  const a = await cloud.snapshotServer(id, 'A')
  await cloud.stopServer(id)
  const dump = await nextDump()
  await cloud.startServer(id)

  await writeContent(shell, 'first')
  await cloud.rollBack(id, a)
  expect(await readContent(shell)).toBe(contentA)
  const contentB = await writeContent(shell, 'B')
  const b = await cloud.snapshotServer(id, 'B')
  await cloud.rollBack(id, a)
  const contentC = await writeContent(shell, 'C')
  const { safety_snapshot_ids: lastSafety } = await cloud.rollBack(id, b)
  const present = await writeContent(shell, 'present')
  expect(await readContent(shell)).toBe(present)
  const before = { safety: await named('safety'), instance: await named('instance') }
  expect(before.safety).toHaveLength(6)
  const disks = await cloud.disks(id)

  await box.down()
  expect(await run('src/launcher/restore.ts', dump)).toContain('The database is now that of')
  await box.up()
  cloud = await box.logIn()
  const refusal = await until('the host to be met', async () => {
    const answer = await cloud.action(id, { 'os-start': null })
    expect(answer.status).toBeGreaterThanOrEqual(400)
    return answer.status === 409 && JSON.stringify(answer.body).includes('recover') ? answer : null
  })
  expect(JSON.stringify(refusal.body)).toContain(`'comeback recover --from-pools'`)
  const rollback = await cloud.action(id, { 'xloud-rollback': { snapshot_id: a } })
  expect({ status: rollback.status, body: JSON.stringify(rollback.body) }).toEqual({
    status: 409,
    body: expect.stringContaining('comeback recover --from-pools'),
  })
  expect(await box.pids('machines')).toEqual([])

  expect(await recover()).toMatchObject({ volumes_added: 0, volumes_moved: 2, snapshots_added: 8 })
  expect(await cloud.disks(id)).toEqual(disks)
  await cloud.startServer(id)
  expect(await readContent(shell)).toBe(present)
  expect({ safety: await named('safety'), instance: await named('instance') }).toEqual(before)

  await cloud.rollBack(id, lastSafety)
  expect(await readContent(shell)).toBe(contentC)
  await cloud.rollBack(id, b)
  expect(await readContent(shell)).toBe(contentB)
  await cloud.rollBack(id, a)
  expect(await readContent(shell)).toBe(contentA)
})

test('the whole database is lost: recover brings the volumes back, with their snapshots', {
  timeout: 10 * minutes,
}, async () => {
  const id = await cloud.createServer({ ...guest, more: { name: 'lost' } })
  const content = await writeContent(box.shell(id), 'kept')
  await cloud.snapshotServer(id, 'A')
  const { vda = '', vdb = '' } = await cloud.disks(id)
  await box.down()
  await rm(join(box.state, 'postgres'), { recursive: true })
  await box.up()
  cloud = await box.logIn()
  await until('the pool', async () => ((await cloud.get<{ items: unknown[] }>('/v1/pools')).items.length > 0 ? true : null))
  const found = await recover()
  expect(found['volumes_added']).toBeGreaterThanOrEqual(2)

  const other = await cloud.createServer({ ...(await box.guestImage()), dataDisks: 0 })
  for (const volume of [vda, vdb]) {
    await cloud.post(`/compute/v2.1/servers/${other}/os-volume_attachments`, { volumeAttachment: { volumeId: volume } })
    await cloud.volumeIs(volume, 'in-use')
  }
  const shell = box.shell(other)
  const device = await cloud.disks(other)
  const deviceOf = (volume: string) => Object.entries(device).find(([, one]) => one === volume)?.[0]
  await shell.run(
    `mkdir -p /old /old-data && mount -t ext4 /dev/${deviceOf(vda)} /old && mount -t ext4 /dev/${deviceOf(vdb)} /old-data && mkdir -p /kept && mount -o bind /old/kept /kept && mount -o bind /old-data /data`,
  )
  expect(await readContent(shell)).toBe(content)
  expect([...(await named('instance')), ...(await named('safety'))]).toHaveLength(Number(found['snapshots_added']))
})
