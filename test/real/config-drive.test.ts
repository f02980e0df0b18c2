/** What is given for a guest reaches it: its key, its metadata, and user data, which a script in it shows by running. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Installation } from '../support/installation.ts'
import { type OpenStack, until } from '../support/openstack.ts'

const minutes = 60_000
let box: Installation
let cloud: OpenStack

beforeAll(async () => {
  box = await Installation.start()
  cloud = await box.logIn()
}, 10 * minutes)
afterAll(() => box.end())

const publicKey = `ssh-ed25519 ${Buffer.from('\0\0\0\x0bssh-ed25519\0\0\0 '.padEnd(51, 'k')).toString('base64')} me`

test('key, metadata and user data are on the drive; the disks keep their names; a rollback leaves it', {
  timeout: 10 * minutes,
}, async () => {
  await cloud.post('/compute/v2.1/os-keypairs', { keypair: { name: 'key', public_key: publicKey } })
  const script = '#!/bin/sh\necho USER-DATA-RAN on $(hostname)\n'
  const id = await cloud.createServer({
    ...(await box.guestImage()),
    more: { name: 'Web One', key_name: 'key', metadata: { role: 'db' }, user_data: Buffer.from(script).toString('base64') },
  })
  const shell = box.shell(id)
  const told = async () => JSON.parse(await shell.run('cat /config/openstack/latest/meta_data.json'))
  expect(await told()).toMatchObject({
    uuid: id,
    name: 'Web One',
    hostname: 'web-one',
    meta: { role: 'db' },
    public_keys: { key: publicKey },
  })
  expect(await shell.run('cat /config/openstack/latest/user_data')).toBe(script.trimEnd())
  expect(await shell.run('dd if=/dev/sr0 bs=1 skip=32808 count=8 2>/dev/null')).toBe('config-2')
  await until('the script to speak', async () => ((await box.console(id)).includes('USER-DATA-RAN on') ? true : null))
  expect(await shell.run('ls /sys/block | grep -c "^vd"')).toBe('2')
  expect(await cloud.server(id)).toMatchObject({ config_drive: 'True', key_name: 'key' })

  const snapshot = await cloud.snapshotServer(id, 'A')
  await cloud.post(`/compute/v2.1/servers/${id}/metadata`, { metadata: { role: 'web' } })
  await cloud.rollBack(id, snapshot)
  expect(await told()).toMatchObject({ uuid: id, meta: { role: 'web' }, public_keys: { key: publicKey } })
  expect((await box.console(id)).split('USER-DATA-RAN on').length).toBe(2)
})

test('without anything to tell there is no drive', { timeout: 5 * minutes }, async () => {
  const id = await cloud.createServer({ ...(await box.guestImage()), dataDisks: 0 })
  expect(await box.shell(id).run('ls /sys/class/scsi_host 2>/dev/null | wc -l')).toBe('0')
  expect((await cloud.server(id))['config_drive']).toBe('')
})
