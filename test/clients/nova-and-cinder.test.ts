/** The `nova` and `cinder` commands, unmodified: they speak the newest microversions they know, `openstack` the oldest. */
import { beforeAll, expect, test } from 'vitest'
import { type Cloud, command, openstackWell } from '../support/openstack-clients.ts'
import { adminPassword, startProduct } from '../support/product.ts'

let cloud: Cloud
beforeAll(async () => {
  const product = await startProduct()
  cloud = { url: product.url, user: 'admin', password: adminPassword, project: 'admin' }
  await openstackWell(cloud, [
    'flavor create --ram 64 --vcpus 1 --disk 1 m1.tiny',
    'image create --disk-format raw --container-format bare --file /etc/os-release disk',
    'volume create --size 1 data',
    'server create --flavor m1.tiny --image disk --network private --wait vm',
  ])
})

async function well(line: string): Promise<string> {
  const { code, out, err } = await command(cloud, line)
  expect({ line, code, err }).toEqual({ line, code: 0, err: '' })
  return out
}

test('nova', async () => {
  expect(await well('nova list')).toMatch(/\| vm +\| ACTIVE +\| - +\| Running +\| private=10\./)
  expect(await well('nova show vm')).toMatch(/OS-EXT-SRV-ATTR:root_device_name +\| \/dev\/vda/)
  expect(await well('nova service-list')).toContain('nova-compute')
  expect(await well('nova hypervisor-list')).toContain('memory')
  expect(await well('nova hypervisor-servers memory')).toContain('vm')
  await well('nova server-tag-add vm t1')
  expect(await well('nova server-tag-list vm')).toContain('t1')
  await well('nova meta vm set a=b')
  expect(await well('nova image-create --show vm snap')).toMatch(/image_type +\| snapshot/)
  await well('nova stop vm')
  await well('nova start vm')
  expect(await well('nova instance-action-list vm')).toMatch(/create[\s\S]*createImage[\s\S]*stop[\s\S]*start/)
  expect(await well('nova volume-attachments vm')).toContain('/dev/vda')
  expect(await well('nova boot --flavor m1.tiny --image disk --nic auto --poll second')).toContain('Finished')
  await well('nova delete second')
  const evacuated = await command(cloud, 'nova evacuate vm')
  expect(evacuated.err).toContain('There is no such action: evacuate')
})

test('cinder, and back to any snapshot of a volume', async () => {
  expect(await well('cinder list')).toMatch(/\| available +\| data +\| 1 /)
  for (const name of ['one', 'two', 'three']) await well(`cinder snapshot-create data --name ${name}`)
  await well('cinder revert-to-snapshot two')
  await well('cinder revert-to-snapshot one')
  await well('cinder revert-to-snapshot three')
  const listed = await well('cinder snapshot-list')
  for (const name of ['one', 'two', 'three']) expect(listed).toMatch(new RegExp(`\\| available +\\| ${name} `))
  expect(listed.match(/_xloud_safety_req-/g)).toHaveLength(3)
  expect((await well('cinder snapshot-list --name _xloud_safety_')).match(/_xloud_safety_req-/g)).toHaveLength(3)
  await well('cinder extend data 2')
  await well('cinder metadata data set a=b')
  expect(await well('cinder show data')).toMatch(/size +\| 2 /)
  const kept = await command(cloud, 'cinder delete data')
  expect(kept.out + kept.err).toContain('still has 3 dependent snapshots')
  await well('cinder delete --cascade data')
  expect(await well('cinder snapshot-list')).not.toContain('_xloud_safety_')
  expect(await well('cinder type-list')).toContain('__DEFAULT__')
  expect(await well('cinder absolute-limits')).toContain('totalVolumesUsed')
})
