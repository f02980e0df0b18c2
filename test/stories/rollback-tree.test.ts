/** A → C → B → A → D over a tree with branches, on two disks, block for block; then every snapshot deleted, in any order. */
import { describe, expect, test } from 'vitest'
import type { ImageId, InstanceId, SnapshotId } from '../../src/domain/ids.ts'
import { removableLayers } from '../../src/domain/layer-garbage.ts'
import { makeCloud } from '../support/cloud.ts'

describe.each(['one', 'many'] as const)('with %s point(s) a layer', (shape) => {
  test('every snapshot is reached from everywhere, on both disks', async () => {
    const cloud = await makeCloud(shape)
    const vm = await cloud.makeInstance(1)
    const { write, contents } = guest(cloud.machines, vm)

    const seen: Record<string, ReturnType<typeof contents>> = {}
    const images: Record<string, ImageId> = {}
    const take = async (name: string) => {
      write(name)
      seen[name] = contents()
      images[name] = await cloud.snapshot(vm, name)
      write(`after ${name}`)
    }
    const goTo = async (name: string) => {
      await cloud.rollback(vm, images[name]!)
      expect(contents(), `at ${name}`).toEqual(seen[name])
    }
    await take('A')
    await take('B')
    await take('C')
    await goTo('A')
    await take('D')
    for (const name of ['A', 'C', 'B', 'A', 'D', 'C']) await goTo(name)
    const rows = await cloud.db
      .selectFrom('volume_snapshots')
      .select(['kind', 'state'])
      .where('deleted_at', 'is', null)
      .where('instance_id', '=', vm)
      .execute()
    expect(rows.filter(({ kind }) => kind === 'instance')).toHaveLength(8)
    expect(rows.filter(({ kind }) => kind === 'safety')).toHaveLength(14)
    expect(rows.every(({ state }) => state === 'available')).toBe(true)
  })

  test('a rollback is undone through its safety snapshots, as often as one likes', async () => {
    const cloud = await makeCloud(shape)
    const vm = await cloud.makeInstance(1)
    const { write, contents } = guest(cloud.machines, vm)
    write('A')
    const image = await cloud.snapshot(vm, 'A')
    const atA = contents()
    write('later')
    const later = contents()
    const { safetySnapshots } = await cloud.rollback(vm, image)
    expect(contents()).toEqual(atA)
    const again = await cloud.undo(vm, safetySnapshots as SnapshotId[])
    expect(contents()).toEqual(later)
    await cloud.undo(vm, again['safetySnapshots'] as SnapshotId[])
    expect(contents()).toEqual(atA)
  })

  test('only chosen disks go back, the others stay', async () => {
    const cloud = await makeCloud(shape)
    const vm = await cloud.makeInstance(2)
    const { write, contents } = guest(cloud.machines, vm, ['vda', 'vdb', 'vdc'])
    write('A')
    const image = await cloud.snapshot(vm, 'A')
    const before = contents()
    write('B')
    const after = contents()
    await cloud.rollback(vm, image, { disks: ['/dev/vdb'] })
    expect(contents()).toEqual([after[0], before[1], after[2]])
  })

  test('snapshots are deleted in any order, and what is left keeps its content', async () => {
    const cloud = await makeCloud(shape)
    const vm = await cloud.makeInstance(0)
    const { write, contents } = guest(cloud.machines, vm, ['vda'])
    const seen: Record<string, unknown> = {}
    const images: Record<string, ImageId> = {}
    for (const name of ['A', 'B', 'C', 'D']) {
      write(name)
      seen[name] = contents()
      images[name] = await cloud.snapshot(vm, name)
    }
    for (const gone of ['B', 'D', 'A']) {
      await cloud.done(cloud.commands.deleteImage(cloud.caller, images[gone]!))
      delete images[gone]
      for (const [name, image] of Object.entries(images)) {
        await cloud.rollback(vm, image, { skipSafetySnapshot: true })
        expect(contents(), `${name} after ${gone} went`).toEqual(seen[name])
      }
    }
    await cloud.done(cloud.commands.deleteImage(cloud.caller, images['C']!))
    await cloud.done(cloud.commands.deleteInstance(cloud.caller, vm))
    const volumes = await cloud.db
      .selectFrom('volumes')
      .select('id')
      .where('pool_id', '=', cloud.pool)
      .where('deleted_at', 'is', null)
      .execute()
    for (const { id } of volumes) await cloud.done(cloud.commands.deleteVolume(cloud.caller, id, { cascade: true }))
    const forest = await cloud.forest()
    expect(new Set(removableLayers(forest))).toEqual(new Set(forest.layers.map(({ id }) => id)))
  })
})

function guest(machines: Awaited<ReturnType<typeof makeCloud>>['machines'], vm: InstanceId, devices = ['vda', 'vdb']) {
  let next = 1
  return {
    /** Writes a fresh byte to a block of its own and one shared block, on every disk. */
    write: (_label: string) => {
      next += 1
      for (const [index, device] of devices.entries()) {
        machines.write(vm, device, next, next)
        machines.write(vm, device, 0, (next + 100 * index) % 256)
      }
    },
    contents: () => devices.map((device) => machines.read(vm, device)),
  }
}
