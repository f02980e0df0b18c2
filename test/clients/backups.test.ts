/** Backups with the `openstack` and `cinder` commands, unmodified, and with `comeback`; the host, its disks and the vault are in memory. */
import { beforeAll, expect, test } from 'vitest'
import { type Cloud, command, openstack, openstackWell, type Said } from '../support/openstack-clients.ts'
import { administrator } from '../support/people.ts'
import { adminPassword, type Product, startProduct } from '../support/product.ts'

let product: Product
let cloud: Cloud

beforeAll(async () => {
  product = await startProduct()
  cloud = { url: product.url, user: 'admin', password: adminPassword, project: 'admin' }
  const { call } = await administrator(product)
  expect((await call('POST', '/v1/vaults', { body: { name: 'main', directory: '/srv/main' } })).status).toBe(200)
})

async function well(line: string): Promise<string> {
  const { code, out, err } = await command(cloud, line)
  expect({ line, code, err }).toEqual({ line, code: 0, err: '' })
  return out
}
/** All must succeed; what each said is found by the words it begins with. */
async function all(commands: readonly string[], options: readonly string[] = []): Promise<(start: string) => Said> {
  const said = await openstackWell(cloud, commands, options)
  return (start) => {
    const found = said[commands.findIndex((line) => line.startsWith(start))]
    if (!found) throw new Error(`no command begins with ${start}`)
    return found
  }
}

test('openstack: created, listed, shown, set, restored and deleted, by name and by id', async () => {
  const said = await all([
    'volume create --size 1 data -f json',
    'volume snapshot create --volume data s1 -f json',
    'volume backup create --name b1 --description first data -f json',
    'volume backup create --name b2 --incremental data -f json',
    'volume backup create --name b3 --snapshot s1 data -f json',
    'volume backup list -f json',
    'volume backup list --long --volume data --status available -f json',
    'volume backup list --name b2 --all-projects -f json',
    'volume backup show b2 -f json',
    'volume backup show b3 -f json',
    'volume snapshot list -f json',
    'limits show --absolute -f json',
  ])
  expect(said('volume backup create --name b1').json).toEqual({ id: expect.any(String), name: 'b1' })
  const names = said('volume backup list -f').json.map((row: Readonly<Record<string, string>>) => row['Name'])
  expect(names).toEqual(['b3', 'b2', 'b1'])
  expect(said('volume backup list --long').json[2]).toMatchObject({
    Name: 'b1',
    Description: 'first',
    Status: 'available',
    Size: 1,
    Container: 'main',
    'Availability Zone': 'nova',
  })
  expect(said('volume backup list --name').json).toMatchObject([{ Name: 'b2' }])
  expect(said('volume backup show b2').json).toMatchObject({
    status: 'available',
    is_incremental: true,
    has_dependent_backups: false,
  })
  expect(said('volume backup show b3').json).toMatchObject({ snapshot_id: said('volume snapshot create').json.id })
  expect(said('volume snapshot list').json).toMatchObject([{ Name: 's1' }])
})

test('openstack, later microversions: properties, new names, states; and restores as far as this client gets', async () => {
  const said = await all(
    [
      'volume backup create --name p --property a=b --property c=d --force data -f json',
      'volume backup set --name q --description other --property e=f p',
      'volume backup unset --property a q',
      'volume backup show q -f json',
      'volume backup set --state error q',
      'volume backup list --status error -f json',
      'volume backup set --state available q',
      'volume create --size 1 onto -f json',
    ],
    ['--os-volume-api-version', '3.64'],
  )
  expect(said('volume backup show q').json).toMatchObject({
    description: 'other',
    metadata: { c: 'd', e: 'f' },
    user_id: expect.any(String),
  })
  expect(said('volume backup list --status error').json).toMatchObject([{ Name: 'q' }])
  const [exists, forced, fresh] = await openstack(cloud, [
    'volume backup restore q onto',
    'volume backup restore --force q onto',
    'volume backup restore q made',
  ])
  expect(exists?.err).toContain("Volume 'onto' already exists")
  // The server has done it; this version of the client cannot show the answer.
  for (const one of [forced, fresh]) expect(one?.err).toContain('cannot unpack non-iterable VolumeBackupsRestore object')
  await expect
    .poll(async () =>
      (await all(['volume list --long -f json']))('volume list').json.map((row: Readonly<Record<string, string>>) => [
        row['Name'],
        row['Status'],
      ]),
    )
    .toEqual(
      expect.arrayContaining([
        ['made', 'available'],
        ['onto', 'available'],
      ]),
    )
  expect((await all(['volume snapshot list --name _xloud_safety_ -f json']))('volume').json).toHaveLength(1)
  await all(['volume backup delete b1 b3'])
  await all(['volume backup show b2 -f json'])
})

test('openstack: what is refused is said in words', async () => {
  const said = await openstack(cloud, [
    'volume create --size 1 empty -f json',
    'volume backup create --incremental empty',
    'volume backup create --container mine empty',
    'volume backup show nothing',
    'volume backup delete nothing',
    'volume backup record export b2',
  ])
  const errors = said.slice(1).map(({ err }) => err)
  expect(errors[0]).toContain('Invalid backup: No backups available to do an incremental backup.')
  expect(errors[1]).toContain('a container cannot be chosen')
  expect(errors[2]).toContain("No volumebackup with a name or ID of 'nothing' exists.")
  expect(errors[3]).toContain("Failed to delete backup with name or ID 'nothing'")
  expect(errors[4]).toMatch(/404/)
})

test('cinder: the newest microversion it knows', async () => {
  await well('cinder create --name data2 1')
  const made = await well('cinder backup-create data2 --name c1 --metadata x=y')
  expect(made).toMatch(/name +\| c1 /)
  await well('cinder backup-create data2 --name c2 --incremental --force')
  const listed = await well('cinder backup-list --with-count')
  expect(listed).toMatch(/\| available +\| c1 +\| 1 +\| 0 +\| main /)
  expect(listed).toMatch(/Backup in total: \d+/)
  expect(await well('cinder backup-list --name c2 --sort name:asc')).not.toContain('| c1 ')
  const shown = await well('cinder backup-show c2')
  expect(shown).toMatch(/is_incremental +\| True/)
  expect(shown).toMatch(/status +\| available/)
  await well('cinder backup-update c1 --name c3 --description new --metadata k=v')
  expect(await well('cinder backup-show c3')).toMatch(/description +\| new /)
  expect(await well('cinder backup-restore c3 --name back')).toMatch(/volume_name +\| back /)
  expect(await well('cinder backup-restore c3')).toMatch(/volume_name +\| restore_backup_/)
  expect(await well('cinder backup-restore c3 --volume data2')).toMatch(/volume_name +\| data2 /)
  expect(await well('cinder snapshot-list --name _xloud_safety_')).toContain('_xloud_safety_req-')
  const backup = /\| ([0-9a-f-]{36}) \|/.exec(await well('cinder backup-list --name c2'))?.[1]
  expect(await well(`cinder create --backup-id ${backup} --name from-backup`)).toMatch(/name +\| from-backup /)
  await well('cinder backup-reset-state --state error c2')
  await well('cinder backup-reset-state c2')
  expect(await well('cinder list')).toMatch(/\| available +\| from-backup /)
  expect(await well('cinder service-list')).toMatch(/cinder-backup +\| main /)
  expect(await well('cinder absolute-limits')).toMatch(/totalBackupsUsed +\| [1-9]/)
  expect(await well('cinder backup-delete c3')).toContain('Request to delete backup c3 has been accepted.')
  const forced = await command(cloud, 'cinder backup-delete --force c2')
  expect(forced.out + forced.err).toContain('There is no such action: os-force_delete')
  await well('cinder delete data2')
  await well('cinder backup-show c2')
})
