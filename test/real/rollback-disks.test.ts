/** Disks that were chosen, detached, attached or grown since the snapshot: each as promised, and proved by what the guest reads. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Installation } from '../support/installation.ts'
import type { OpenStack } from '../support/openstack.ts'

const minutes = 60_000

let box: Installation
let cloud: OpenStack
let id: string
let snapshot: string
let disks: { vda: string; vdb: string }

beforeAll(async () => {
  box = await Installation.start()
  cloud = await box.logIn()
  id = await cloud.createServer(await box.guestImage())
  const { vda = '', vdb = '' } = await cloud.disks(id)
  disks = { vda, vdb }
  await write('then', '/', '/data')
  snapshot = await cloud.snapshotServer(id, 'then')
}, 10 * minutes)
afterAll(() => box.end())

const write = (word: string, ...places: string[]) =>
  box.shell(id).run(`${places.map((place) => `echo ${word} >${place}/word`).join(' && ')} && sync`)
const readWords = async (...places: string[]) =>
  (await box.shell(id).run(`cat ${places.map((place) => `${place}/word`).join(' ')}`)).split('\n')

type Finding = { code: string; message: string; transient: boolean; facts?: { disks?: string[] } }
const preflight = async (more: Record<string, unknown> = {}) =>
  (await cloud.preflight(id, snapshot, more)) as unknown as {
    can_rollback: boolean
    errors: Finding[]
    warnings: Finding[]
    volumes: { volume_id: string }[]
  }

test('only the disks that are asked for, by device or by volume, go back', { timeout: 10 * minutes }, async () => {
  await write('now', '/', '/data')
  const found = await preflight({ disks: ['/dev/vdb'] })
  expect(found.volumes.map(({ volume_id }) => volume_id)).toEqual([disks.vdb])
  const one = await cloud.rollBack(id, snapshot, { disks: ['vdb'] })
  expect(one.volumes_reverted.map(({ volume_id }) => volume_id)).toEqual([disks.vdb])
  expect(await readWords('/', '/data')).toEqual(['now', 'then'])
  await write('later', '/data')
  await cloud.rollBack(id, snapshot, { disks: [disks.vda] })
  expect(await readWords('/', '/data')).toEqual(['then', 'later'])
})

test('without a safety snapshot none is made, and that is warned of', { timeout: 10 * minutes }, async () => {
  const found = await preflight({ skip_safety_snapshot: true })
  expect(found.warnings.map(({ code }) => code)).toContain('noSafetySnapshot')
  const count = async () =>
    (await cloud.get<{ snapshots: unknown[] }>(cloud.volumePath('/snapshots?limit=1000'))).snapshots.length
  const before = await count()
  const { safety_snapshot_ids: safety } = await cloud.rollBack(id, snapshot, { skip_safety_snapshot: true })
  expect(safety).toEqual([])
  expect(await count()).toBe(before)
  expect(await readWords('/', '/data')).toEqual(['then', 'then'])
})

test('a detached disk is an error that carries the disks that work; a new one stays untouched; a grown one keeps its size', {
  timeout: 15 * minutes,
}, async () => {
  await write('now', '/', '/data')
  await cloud.stopServer(id)
  await cloud.remove(`/compute/v2.1/servers/${id}/os-volume_attachments/${disks.vdb}`)
  await cloud.volumeIs(disks.vdb, 'available')
  const found = await preflight()
  expect(found.can_rollback).toBe(false)
  expect(found.errors).toEqual([
    expect.objectContaining({ code: 'diskDetached', transient: false, facts: { disks: [disks.vda] } }),
  ])
  const refused = await cloud.action(id, { 'xloud-rollback': { snapshot_id: snapshot } })
  expect(refused).toMatchObject({
    status: 409,
    body: { conflictingRequest: { message: expect.stringContaining(`Volume ${disks.vdb} is no longer attached`) } },
  })
  expect(await cloud.serverIs(id, 'SHUTOFF')).toBeTruthy()

  const works = found.errors[0]?.facts?.disks
  await cloud.rollBack(id, snapshot, { disks: works, power_state_after: 'off' })
  await cloud.post(cloud.volumePath(`/volumes/${disks.vdb}/action`), { 'os-extend': { new_size: 2 } })
  await cloud.volumeIs(disks.vdb, 'available')
  const { volume } = await cloud.post<{ volume: { id: string } }>(cloud.volumePath('/volumes'), {
    volume: { size: 1, name: 'since' },
  })
  await cloud.volumeIs(volume.id, 'available')
  for (const each of [disks.vdb, volume.id]) {
    await cloud.post(`/compute/v2.1/servers/${id}/os-volume_attachments`, { volumeAttachment: { volumeId: each } })
    await cloud.volumeIs(each, 'in-use')
  }
  await cloud.startServer(id)
  expect(await readWords('/', '/data')).toEqual(['then', 'now'])
  const tail = 'dd if=/dev/vdb bs=1M skip=1500 count=2 2>/dev/null | tr -d "\\000" | wc -c'
  await box.shell(id).run('dd if=/dev/urandom of=/dev/vdb bs=1M seek=1500 count=2 && sync')
  expect(Number(await box.shell(id).run(tail))).toBeGreaterThan(2_000_000)
  await write('new disk', '/disks/vdc')

  const again = await preflight()
  expect(again.errors).toEqual([])
  expect(again.warnings.map(({ code }) => code).toSorted()).toEqual(['disksUntouched', 'sizeKept'])
  expect(again.warnings.find(({ code }) => code === 'disksUntouched')?.message).toContain(`vdc (${volume.id})`)
  await cloud.rollBack(id, snapshot)
  expect(await readWords('/', '/data', '/disks/vdc')).toEqual(['then', 'then', 'new disk'])
  expect(await box.shell(id).run('blockdev --getsize64 /dev/vdb')).toBe(String(2 * 1024 ** 3))
  expect(await box.shell(id).run(tail)).toBe('0')
})
