/** All processes of one installation die at once, as when its machine is switched off, while another runs beside it. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Installation } from '../support/installation.ts'
import type { OpenStack } from '../support/openstack.ts'

const minutes = 60_000

let box: Installation
let neighbour: Installation
let cloud: OpenStack

beforeAll(async () => {
  box = await Installation.start()
  neighbour = await Installation.start()
  cloud = await box.logIn()
}, 10 * minutes)
afterAll(async () => {
  await box.end()
  await neighbour.end()
})

const bootOf = (of: Installation, id: string) => of.shell(id).run('cat /proc/sys/kernel/random/boot_id')

test('what ran is started again, what was stopped stays so, and the neighbour notices nothing', {
  timeout: 15 * minutes,
}, async () => {
  const guest = await box.guestImage()
  const ran = await cloud.createServer(guest)
  const stopped = await cloud.createServer({ ...guest, dataDisks: 0 })
  await box.shell(stopped).run('true') // it has booted, and hears its power button
  await cloud.stopServer(stopped)
  await box.shell(ran).run('echo kept >/word; echo kept >/data/word; sync')
  const boot = await bootOf(box, ran)
  const other = await (await neighbour.logIn()).createServer(await neighbour.guestImage())
  const otherBoot = await bootOf(neighbour, other)
  const neighbours = await Promise.all(
    (['controller', 'agent', 'database', 'machines'] as const).map(neighbour.pids.bind(neighbour)),
  )

  await box.kill('machines', 'agent', 'controller', 'database')
  const parts = await box.up()
  expect(parts.map((part) => part.split(': ')[1])).toEqual(['started', 'started', 'started'])
  cloud = await box.logIn()
  expect(await box.shell(ran).run('cat /word /data/word')).toBe('kept\nkept')
  expect(await bootOf(box, ran)).not.toBe(boot)
  await cloud.serverIs(ran, 'ACTIVE')
  expect((await cloud.server(stopped)).status).toBe('SHUTOFF')
  expect(await box.pids('machines')).toHaveLength(1)

  expect(
    await Promise.all((['controller', 'agent', 'database', 'machines'] as const).map(neighbour.pids.bind(neighbour))),
  ).toEqual(neighbours)
  expect(await bootOf(neighbour, other)).toBe(otherBoot)
})

test('down that leaves the machines: they run on, and up finds them', { timeout: 10 * minutes }, async () => {
  const [machine] = await box.pids('machines')
  expect(await box.down('leave-machines')).toEqual(['controller: stopped', 'agent: stopped', 'PostgreSQL: stopped'])
  expect(await box.pids('machines')).toEqual([machine])
  await box.up()
  cloud = await box.logIn()
  expect(await box.pids('machines')).toEqual([machine])
  const { servers } = await cloud.get<{ servers: { status: string }[] }>('/compute/v2.1/servers/detail')
  expect(servers.map(({ status }) => status).sort()).toEqual(['ACTIVE', 'SHUTOFF'])
})

test('down stops its own, and the neighbour still runs; up finds everything as it was', { timeout: 10 * minutes }, async () => {
  const before = (await cloud.get<{ servers: { id: string; name: string }[] }>('/compute/v2.1/servers')).servers.map(
    ({ id }) => id,
  )
  expect((await box.down()).join('\n')).toContain('PostgreSQL: stopped')
  expect(await Promise.all((['controller', 'agent', 'database', 'machines'] as const).map(box.pids.bind(box)))).toEqual([
    [],
    [],
    [],
    [],
  ])
  expect(await neighbour.pids('machines')).toHaveLength(1)
  await box.up()
  cloud = await box.logIn()
  const after = (await cloud.get<{ servers: { id: string }[] }>('/compute/v2.1/servers')).servers.map(({ id }) => id)
  expect(after).toEqual(before)
})
