/** The `openstack` command, unmodified, against the controller; the host and its disks are in memory. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Cloud, openstack, openstackWell, type Said } from '../support/openstack-clients.ts'
import { person } from '../support/people.ts'
import { adminPassword, type Product, startProduct } from '../support/product.ts'

const publicKey = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKqtlWFTeQ2bLkVuM3lIvdU7xxDXQEPzJ7n3v7t0Zf somebody@somewhere\n'

let product: Product
let cloud: Cloud
let folder: string
beforeAll(async () => {
  product = await startProduct()
  cloud = { url: product.url, user: 'admin', password: adminPassword, project: 'admin' }
  folder = await mkdtemp(join(tmpdir(), 'comeback-clients-'))
  await writeFile(join(folder, 'disk.raw'), Buffer.alloc(1024 * 1024, 7))
  await writeFile(join(folder, 'key.pub'), publicKey)
})
afterAll(() => rm(folder, { recursive: true, force: true }))

/** All must succeed; what each said is found by the words it begins with. */
async function well(commands: readonly string[], options: readonly string[] = []): Promise<(start: string) => Said> {
  const said = await openstackWell(cloud, commands, options)
  return (start) => {
    const found = said[commands.findIndex((command) => command.startsWith(start))]
    if (!found) throw new Error(`no command begins with ${start}`)
    return found
  }
}
const names = (said: Said, column = 'Name') => said.json.map((row: Readonly<Record<string, string>>) => row[column])

test('identity: token, catalog, endpoints, people and their roles', async () => {
  const said = await well([
    'token issue -f json',
    'catalog list -f json',
    'endpoint list --service compute --interface public -f json',
    'service list -f json',
    'region list -f json',
    'versions show -f json',
    'project create green -f json',
    'user create --password pw --project green fred -f json',
    'role add --user fred --project green member',
    'role assignment list --names --user fred -f json',
    'role remove --user fred --project green member',
    'user set --password pw2 fred',
    'user show fred -f json',
    'user delete fred',
    'project delete green',
    'project list -f json',
  ])
  expect(said('token').json).toMatchObject({
    id: expect.stringMatching(/^[\w-]{43}$/),
    project_id: expect.stringMatching(/^[0-9a-f]{32}$/),
  })
  expect(names(said('catalog'), 'Type')).toEqual([
    'identity',
    'compute',
    'volumev3',
    'block-storage',
    'image',
    'network',
    'comeback',
  ])
  expect(said('endpoint').json).toMatchObject([{ URL: `${product.url}/compute/v2.1`, Interface: 'public' }])
  const compute = said('versions').json.find((row: Readonly<Record<string, string>>) => row['Service Type'] === 'compute')
  expect(compute).toMatchObject({ 'Min Microversion': '2.1', 'Max Microversion': '2.95', Status: 'CURRENT' })
  expect(said('role assignment').json).toMatchObject([{ Role: 'member', User: 'fred@Default', Project: 'green@Default' }])
  expect(names(said('project list'))).toEqual(['admin'])
})

test('an instance from its image to its end, by name and by id', async () => {
  const made = await well([
    'flavor create --ram 64 --vcpus 1 --disk 1 --id 1 m1.tiny -f json',
    'flavor list -f json',
    'flavor show m1.tiny -f json',
    'flavor set --property hw:x=y m1.tiny',
    `keypair create --public-key ${join(folder, 'key.pub')} key1 -f json`,
    'keypair create key2',
    'keypair list -f json',
    `image create --disk-format raw --container-format bare --file ${join(folder, 'disk.raw')} disk -f json`,
    'image set --property color=blue --tag t disk',
    'image list -f json',
    'image show disk -f json',
    'network list -f json',
    'server create --flavor m1.tiny --image disk --network private --key-name key1 --property a=b --wait vm -f json',
    'server list --long -f json',
    'server show vm -f json',
    'port list -f json',
  ])
  expect(made('flavor list').json).toMatchObject([{ ID: '1', Name: 'm1.tiny', RAM: 64, VCPUs: 1, Disk: 1, 'Is Public': true }])
  expect(made('keypair create key2').out).toMatch(/^-----BEGIN RSA PRIVATE KEY-----\n/)
  expect(names(made('keypair list'))).toEqual(['key1', 'key2'])
  expect(made('image show').json).toMatchObject({
    status: 'active',
    size: 1024 * 1024,
    checksum: expect.stringMatching(/^[0-9a-f]{32}$/),
    properties: { color: 'blue' },
    tags: ['t'],
  })
  expect(made('server show').json).toMatchObject({
    name: 'vm',
    status: 'ACTIVE',
    key_name: 'key1',
    image: 'N/A (booted from volume)',
    addresses: { private: [expect.stringMatching(/^10\./)] },
    properties: { a: 'b' },
    'OS-EXT-STS:power_state': 1,
    'OS-EXT-SRV-ATTR:host': 'memory',
  })
  const { id } = made('server show').json

  const changed = await well([
    'server set --name vm2 --property c=d vm',
    'server stop vm2',
    `server show ${id} -f json`,
    'server start vm2',
    'server reboot vm2',
    'server reboot --hard --wait vm2',
    'server lock vm2',
    'server unlock vm2',
    'console log show vm2',
    'server event list vm2 -f json',
    'server unset --property a vm2',
  ])
  expect(changed('server show').json).toMatchObject({ name: 'vm2', properties: { a: 'b', c: 'd' } })
  expect(changed('console').out).toContain('login:')
  const done = ['reboot', 'reboot', 'start', 'stop', 'create']
  expect(names(changed('server event'), 'Action')).toEqual(done)

  const tagged = await well(
    [
      'server set --description hello --tag t1 vm2',
      'server list --tags t1 -f json',
      'server list --not-tags t1 -f json',
      'server show vm2 -f json',
    ],
    ['--os-compute-api-version', '2.90'],
  )
  expect(tagged('server show').json).toMatchObject({
    description: 'hello',
    tags: ['t1'],
    locked: false,
    properties: { c: 'd' },
  })
  expect(names(tagged('server list --tags'))).toEqual(['vm2'])
  expect(tagged('server list --not-tags').json).toEqual([])

  const gone = await well([
    'server delete --wait vm2',
    'server list -f json',
    'keypair delete key1 key2',
    'keypair list -f json',
  ])
  expect(gone('server list').json).toEqual([])
  expect(gone('keypair list').json).toEqual([])
})

test('volumes and their snapshots: made, attached, grown, named, deleted', async () => {
  const said = await well([
    'volume type list -f json',
    'volume create --size 1 --description text --property p=q data -f json',
    'volume list -f json',
    'volume set --name data2 data',
    'volume set --size 2 data2',
    'volume show data2 -f json',
    'volume snapshot create --volume data2 s1 -f json',
    'volume snapshot set --name s2 --property x=y s1',
    'volume snapshot list -f json',
    'volume snapshot show s2 -f json',
    'volume create --snapshot s2 copy -f json',
    'volume delete copy',
    'volume snapshot delete s2',
    'server create --flavor m1.tiny --image disk --network private --wait vm -f json',
    'server add volume vm data2',
    'server show vm -f json',
    'volume list --long -f json',
    'volume snapshot create --force --volume data2 live -f json',
    'volume snapshot delete live',
    'server remove volume vm data2',
    'volume delete data2',
    'server delete --wait vm',
  ])
  expect(said('volume list -f').json).toMatchObject([{ Name: 'data', Status: 'available', Size: 1, 'Attached to': [] }])
  expect(said('volume show').json).toMatchObject({
    name: 'data2',
    size: 2,
    description: 'text',
    properties: { p: 'q' },
    type: '__DEFAULT__',
  })
  expect(said('volume snapshot show').json).toMatchObject({ name: 's2', status: 'available', size: 2, properties: { x: 'y' } })
  expect(said('server show').json.volumes_attached).toHaveLength(2)
  const data = said('volume list --long').json.find((row: Readonly<Record<string, string>>) => row['Name'] === 'data2')
  expect(data).toMatchObject({ Status: 'in-use', 'Attached to': [{ device: '/dev/vdb' }] })
})

test('an instance snapshot is an image of no bytes, and another instance comes from it', async () => {
  const said = await well([
    'server create --flavor m1.tiny --image disk --network private --wait first -f json',
    'volume create --size 1 more -f json',
    'server add volume first more',
    'server image create --wait --name snap first -f json',
    'image show snap -f json',
    'volume snapshot list -f json',
    'server create --flavor m1.tiny --image snap --network private --wait second -f json',
    'server show second -f json',
  ])
  const { properties, size, status } = said('image show').json
  expect({ size, status }).toEqual({ size: 0, status: 'active' })
  expect(properties).toMatchObject({ bdm_v2: 'True', root_device_name: '/dev/vda', image_type: 'snapshot' })
  const mapping =
    typeof properties.block_device_mapping === 'string'
      ? JSON.parse(properties.block_device_mapping)
      : properties.block_device_mapping
  expect(mapping).toMatchObject([
    { source_type: 'snapshot', destination_type: 'volume', boot_index: 0, device_name: '/dev/vda', volume_size: 1 },
    { source_type: 'snapshot', destination_type: 'volume', device_name: '/dev/vdb', volume_size: 1 },
  ])
  expect(names(said('volume snapshot list'))).toEqual(['snapshot for snap', 'snapshot for snap'])
  expect(said('server show').json.volumes_attached).toHaveLength(2)
  const gone = await well([
    'image delete snap',
    'volume snapshot list -f json',
    'server delete --wait first second',
    'image list -f json',
  ])
  expect(gone('volume snapshot').json).toEqual([])
  expect(names(gone('image list'))).toEqual(['disk'])
})

test('the administrator looks at hosts', async () => {
  const said = await well([
    'compute service list -f json',
    'compute service set --disable --disable-reason repair memory nova-compute',
    'compute service set --enable memory nova-compute',
    'hypervisor list -f json',
    'hypervisor show memory -f json',
    'availability zone list --compute -f json',
    'limits show --absolute -f json',
    'server list --all-projects -f json',
  ])
  expect(said('compute service list').json).toMatchObject([
    { Binary: 'nova-compute', Host: 'memory', Status: 'enabled', State: 'up' },
  ])
  expect(said('hypervisor show').json).toMatchObject({
    hypervisor_hostname: 'memory',
    hypervisor_type: 'QEMU',
    state: 'up',
    vcpus: 8,
  })
})

test('a member of another project finds nothing by name or id, and is told so', async () => {
  await person(product, 'otto', 'member', 'red')
  const otto: Cloud = { url: product.url, user: 'otto', password: 'otto-secret', project: 'red' }
  const { json } = (await openstackWell(cloud, ['volume create --size 1 hidden -f json']))[0] ?? { json: {} }
  const refused = await openstack(otto, [
    'volume show hidden',
    `volume show ${json.id}`,
    `volume delete ${json.id}`,
    'server list --all-projects',
    'flavor create --ram 64 --vcpus 1 --disk 1 x',
    'compute service list',
    'user list',
  ])
  const words = [/No volume with a name or ID/, /No volume with a name or ID/, /Failed to delete|No volume/]
  const forbidden = [/Policy doesn't allow/, /Policy doesn't allow/, /Policy doesn't allow|403/, /Policy doesn't allow/]
  for (const [index, expected] of [...words, ...forbidden].entries()) expect(refused[index]?.err).toMatch(expected)
  const own = await openstackWell(otto, [
    'volume list -f json',
    'server list -f json',
    'token issue -f json',
    'flavor list -f json',
  ])
  expect(own.slice(0, 2).map(({ json }) => json)).toEqual([[], []])
})
