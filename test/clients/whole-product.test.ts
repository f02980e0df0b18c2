/** Everything real: `npm start`, a guest in QEMU, disks in qcow2, and the commands that people have on their machines. */
import { execFile } from 'node:child_process'
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { lendGuest } from '../support/bare-guest.ts'
import { freePort } from '../support/free-port.ts'
import { type Cloud, command, openstack, openstackWell } from '../support/openstack-clients.ts'

let state: string
let cloud: Cloud
let settings: Record<string, string>

const script = (name: string) => new URL(`../../src/launcher/${name}.ts`, import.meta.url).pathname
const launch = (name: 'start' | 'down') =>
  promisify(execFile)(process.execPath, [script(name)], { env: settings, timeout: 600_000 })

beforeAll(async () => {
  state = await mkdtemp(join(tmpdir(), 'comeback-whole-'))
  await chmod(state, 0o755)
  const listen = `127.0.0.1:${await freePort()}`
  settings = { PATH: process.env['PATH'] ?? '', COMEBACK_STATE: state, COMEBACK_LISTEN: listen }
  await lendGuest(state)
  await launch('start')
  const openrc = await readFile(join(state, 'openrc'), 'utf8')
  const password = /OS_PASSWORD='([^']+)'/.exec(openrc)?.[1] ?? ''
  cloud = { url: `http://${listen}`, user: 'admin', password, project: 'admin' }
})

afterAll(async () => {
  await launch('down')
  await rm(state, { recursive: true, force: true })
})

const one = async (line: string) => (await openstackWell(cloud, [line]))[0] ?? { out: '', err: '', json: undefined }

/** Looks every second, in a process of its own each time. */
async function when<T>(what: string, look: () => Promise<T | false>): Promise<T> {
  for (const end = Date.now() + 240_000; Date.now() < end; ) {
    const seen = await look()
    if (seen !== false) return seen
    await new Promise((resolve) => setTimeout(resolve, 1000))
  }
  throw new Error(`${what}: not within 240 s`)
}
const inState = (name: string, status: string) =>
  when(`${name} is ${status}`, async () => {
    const { json } = await one(`server show ${name} -f json`)
    return json.status === status && json['OS-EXT-STS:task_state'] === null && json
  })

test('the demo instance runs, and says so on its console', async () => {
  const demo = await inState('demo', 'ACTIVE')
  expect(demo).toMatchObject({ 'OS-EXT-STS:power_state': 1, volumes_attached: [{ id: expect.any(String) }] })
  await when('the guest writes to its console', async () => /\S/.test((await one('console log show demo')).out))
})

test('disks come and go under the running guest; a snapshot of both; another instance from it; back again', async () => {
  await openstackWell(cloud, [
    'volume create --size 1 data',
    'server add volume demo data',
    'server image create --wait --name A demo',
  ])
  const { json: image } = await one('image show A -f json')
  expect(image).toMatchObject({ size: 0, status: 'active' })
  await openstackWell(cloud, ['server create --flavor demo.tiny --image A --network private --wait two -f json'])
  expect((await inState('two', 'ACTIVE')).volumes_attached).toHaveLength(2)

  const { json: server } = await one('server show demo -f json')
  const token = (await one('token issue -f json')).json.id
  const nova = (await one('endpoint list --service compute --interface public -f value -c URL')).out.trim()
  const act = async (body: object) => {
    const headers = { 'X-Auth-Token': token, 'Content-Type': 'application/json' }
    const answer = await fetch(`${nova}/servers/${server.id}/action`, { method: 'POST', headers, body: JSON.stringify(body) })
    return (await answer.json()) as Record<string, Record<string, unknown>>
  }
  const dry = await act({ 'xloud-rollback-dry-run': { snapshot_id: image.id } })
  expect(dry['xloud_rollback_dry_run']).toMatchObject({ can_rollback: true, backend: 'qcow2', errors: [] })
  const done = await act({ 'xloud-rollback': { snapshot_id: image.id, power_state_after: 'on', stop_mode: 'hard' } })
  expect(done['xloud_rollback']).toMatchObject({
    state: 'completed',
    volumes_reverted: [{}, {}],
    safety_snapshot_ids: [expect.any(String), expect.any(String)],
  })
  await inState('demo', 'ACTIVE')
  const safety = await command(cloud, 'cinder snapshot-list --name _xloud_safety_')
  expect(safety.out.match(/_xloud_safety_req-/g)).toHaveLength(2)
})

test('power, growth, reverting a volume, and the end', async () => {
  await openstackWell(cloud, ['server reboot --hard --wait two', 'server stop two'])
  await inState('two', 'SHUTOFF')
  await openstackWell(cloud, ['server start two'])
  await inState('two', 'ACTIVE')
  await openstackWell(cloud, [
    'volume snapshot create --force --volume data s1',
    'volume snapshot create --force --volume data s2',
    'server delete --wait two',
  ])
  await when('data can be taken off', async () => (await openstack(cloud, ['server remove volume demo data']))[0]?.err === '')
  for (const name of ['s1', 's2']) expect(await command(cloud, `cinder revert-to-snapshot ${name}`)).toMatchObject({ code: 0 })
  await openstackWell(cloud, ['volume set --size 2 data', 'image delete A'])
  expect((await one('volume show data -f json')).json).toMatchObject({ status: 'available', size: 2 })
  expect((await command(cloud, 'cinder delete --cascade data')).code).toBe(0)
  await when('data is gone', async () => (await one('volume list --name data -f json')).json.length === 0)
  expect((await one('compute service list -f json')).json).toMatchObject([{ Binary: 'nova-compute', State: 'up' }])
})
