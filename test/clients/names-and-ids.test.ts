/** Whatever is named to the clients may be named by its name or its id, and lists come whole however they are paged. */
import { beforeAll, expect, test } from 'vitest'
import { type Cloud, command, openstackWell } from '../support/openstack-clients.ts'
import { adminPassword, startProduct } from '../support/product.ts'

let cloud: Cloud
const ids: Record<string, string> = {}

beforeAll(async () => {
  const product = await startProduct()
  cloud = { url: product.url, user: 'admin', password: adminPassword, project: 'admin' }
  await openstackWell(cloud, [
    'flavor create --ram 64 --vcpus 1 --disk 1 m1.tiny',
    'image create --disk-format raw --container-format bare --file /etc/os-release disk',
    'server create --flavor m1.tiny --image disk --network private --wait vm',
    'volume create --size 1 data',
    'volume snapshot create --volume data point',
    'server image create --wait --name whole vm',
    'project create green',
    'user create --password pw fred',
  ])
  const shown = await openstackWell(
    cloud,
    things.map(([noun, name]) => `${noun} show ${name} -f json`),
  )
  for (const [index, [noun, name]] of things.entries()) ids[`${noun} ${name}`] = shown[index]?.json.id
})

const things = [
  ['flavor', 'm1.tiny'],
  ['image', 'disk'],
  ['image', 'whole'],
  ['server', 'vm'],
  ['volume', 'data'],
  ['volume snapshot', 'point'],
  ['network', 'private'],
  ['project', 'green'],
  ['user', 'fred'],
  ['hypervisor', 'memory'],
] as const
const idOf = (thing: string): string => ids[thing] ?? ''
const uuid = /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/

test('what is shown by name is the same by id', async () => {
  const named = await openstackWell(
    cloud,
    things.flatMap(([noun, name]) => [`${noun} show ${name} -f json`, `${noun} show ${idOf(`${noun} ${name}`)} -f json`]),
  )
  const changing = ['uptime', 'host_time', 'load_average']
  const stable = (json: object) => Object.entries(json).filter(([key]) => !changing.includes(key))
  for (const [index, [noun, name]] of things.entries()) {
    expect(stable(named[2 * index + 1]?.json), `${noun} ${name}`).toEqual(stable(named[2 * index]?.json))
    if (noun !== 'hypervisor') expect(idOf(`${noun} ${name}`)).toMatch(uuid)
  }
})

test('nova and cinder take ids, and find by name what they are given by name', async () => {
  const well = async (line: string) => {
    const { code, out, err } = await command(cloud, line)
    expect({ line, code, err }).toEqual({ line, code: 0, err: '' })
    return out
  }
  for (const server of ['vm', idOf('server vm')]) expect(await well(`nova show ${server}`)).toContain(idOf('server vm'))
  for (const volume of ['data', idOf('volume data')]) expect(await well(`cinder show ${volume}`)).toContain(idOf('volume data'))
  for (const point of ['point', idOf('volume snapshot point')]) {
    expect(await well(`cinder snapshot-show ${point}`)).toContain(idOf('volume snapshot point'))
    await well(`cinder revert-to-snapshot ${point}`)
  }
  await well(`nova stop ${idOf('server vm')}`)
  await well(`nova start ${idOf('server vm')}`)
  for (const line of ['nova show nothing', 'cinder show nothing', 'cinder revert-to-snapshot nothing']) {
    const { code, err } = await command(cloud, line)
    expect(code, line).not.toBe(0)
    expect(err, line).toMatch(
      /No (server|volume|snapshot|volumesnapshot).* with a name or ID of 'nothing' exists|No .*nothing/i,
    )
  }
})

test('what changes things takes ids', async () => {
  const server = idOf('server vm')
  const volume = idOf('volume data')
  await openstackWell(cloud, [
    `server set --property a=b ${server}`,
    `server stop ${server}`,
    `server start ${server}`,
    `server reboot ${server}`,
    `server reboot --hard --wait ${server}`,
    `console log show ${server}`,
    `volume set --name data2 --property c=d ${volume}`,
    `volume set --size 2 ${volume}`,
    `server add volume ${server} ${volume}`,
    `server remove volume ${server} ${volume}`,
    `volume create --snapshot ${idOf('volume snapshot point')} copy`,
    `server create --flavor ${idOf('flavor m1.tiny')} --image ${idOf('image whole')} --network ${idOf('network private')} --wait second`,
    `server image create --wait --name again ${server}`,
  ])
  const [shown, copy] = await openstackWell(cloud, [`volume show ${volume} -f json`, 'volume show copy -f json'])
  expect(shown?.json).toMatchObject({ name: 'data2', size: 2, properties: { c: 'd' }, status: 'available' })
  expect(copy?.json).toMatchObject({ snapshot_id: idOf('volume snapshot point'), size: 1 })
})

test('lists come page by page, and all of them', async () => {
  await openstackWell(cloud, [
    'volume create --size 1 p1',
    'volume create --size 1 p2',
    'volume snapshot create --volume p1 s1',
  ])
  const names = (json: readonly Record<string, string>[] | undefined) => json?.map(({ Name }) => Name)
  const [first, , snapshots, images, servers] = await openstackWell(cloud, [
    'volume list --limit 1 -f json',
    'volume list -f json',
    'volume snapshot list --limit 1 -f json',
    'image list --limit 1 -f json',
    'server list --limit 1 -f json',
  ])
  expect(first?.json).toHaveLength(1)
  expect(snapshots?.json).toHaveLength(1)
  expect(servers?.json).toHaveLength(1)
  expect(names(images?.json)?.length).toBeGreaterThanOrEqual(1)
  const [all] = await openstackWell(cloud, ['volume list -f json'])
  const paged: (string | undefined)[] = []
  for (let marker = ''; ; ) {
    const [page] = await openstackWell(cloud, [`volume list --limit 2 ${marker} -f json`])
    if (page?.json.length === 0) break
    paged.push(...(names(page?.json) ?? []))
    marker = `--marker ${page?.json.at(-1).ID}`
  }
  expect(paged).toEqual(names(all?.json))
  expect(paged.length).toBeGreaterThan(3)
  // Negative: the client asks for page after page until one is empty.
  const [everyServer] = await openstackWell(cloud, ['server list --limit -1 -f json'])
  expect(names(everyServer?.json)?.toSorted()).toEqual(['second', 'vm'])
})

test('what is gone is gone by its id too', async () => {
  const [found] = await openstackWell(cloud, ['server list -f json'])
  const servers = found?.json.map(({ ID }: { ID: string }) => ID).join(' ')
  await openstackWell(cloud, [
    `server delete --wait ${servers}`,
    `volume snapshot delete ${idOf('volume snapshot point')}`,
    `image delete ${idOf('image whole')}`,
    `user delete ${idOf('user fred')}`,
    `project delete ${idOf('project green')}`,
    `flavor delete ${idOf('flavor m1.tiny')}`,
  ])
  const [left] = await openstackWell(cloud, ['server list -f json'])
  expect(left?.json).toEqual([])
})
