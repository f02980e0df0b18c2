/** What a snapshot says that it achieved: told by the agent for a machine that runs, by how it was left for one that does not. */
import { expect, test } from 'vitest'
import { reconcileHost } from '../../src/app/watchers/machines.ts'
import { type InstanceId, newId, type SnapshotId, type VolumeId } from '../../src/domain/ids.ts'
import { refuse } from '../../src/domain/refusals.ts'
import { type Consistency, GiB } from '../../src/domain/volume.ts'
import type { PivotOutcome, PivotRequest } from '../../src/ports/host-agent.ts'
import { type Cloud, makeCloud } from '../support/cloud.ts'

const hard = { mode: 'hard', graceSeconds: 0 } as const
const graceful = { mode: 'graceful', graceSeconds: 1 } as const

const whole = { consistency: 'filesystem', consistency_why: null }
const unknown = {
  consistency: 'crash',
  consistency_why: 'The instance was off, and it is not known that the guest that used it last had shut down.',
}

/** Takes an instance snapshot and answers what its rows and its image say. */
async function take({ commands, caller, done, db }: Cloud, instance: InstanceId, consistency: Consistency) {
  const { image, result } = await done(
    commands.createInstanceSnapshot(caller, { instance, name: 'taken', metadata: {}, disks: null, consistency }),
  )
  const rows = await db
    .selectFrom('volume_snapshots')
    .select(['consistency', 'consistency_why'])
    .where('image_id', '=', image)
    .execute()
  const { properties } = await db.selectFrom('images').select('properties').where('id', '=', image).executeTakeFirstOrThrow()
  expect(new Set(rows.map((row) => JSON.stringify(row))).size).toBe(1)
  expect(result).toMatchObject({ consistency: rows[0]?.consistency, why: rows[0]?.consistency_why })
  expect(properties['xloud_consistency']).toBe(rows[0]?.consistency)
  expect(properties['xloud_consistency_why'] ?? null).toBe(rows[0]?.consistency_why)
  return rows[0]
}

async function takeOfVolume({ commands, caller, done, db }: Cloud, volume: VolumeId, consistency: Consistency) {
  const request = { volume, name: 'taken', description: null, metadata: {}, force: true, consistency }
  const { snapshot } = await done(commands.createVolumeSnapshot(caller, request))
  return await rowOf(db, snapshot)
}
const rowOf = (db: Cloud['db'], snapshot: SnapshotId) =>
  db.selectFrom('volume_snapshots').select(['consistency', 'consistency_why']).where('id', '=', snapshot).executeTakeFirst()

const volumesOf = async ({ db }: Cloud, instance: InstanceId): Promise<VolumeId[]> =>
  (await db.selectFrom('attachments').select('volume_id').where('instance_id', '=', instance).orderBy('device').execute()).map(
    ({ volume_id }) => volume_id,
  )

test('a running machine: what the agent achieved, and why it is less, on every row, the image and the operation', async () => {
  const cloud = await makeCloud('one')
  const instance = await cloud.makeInstance(1)
  const asked: PivotRequest[] = []
  let less: Pick<PivotOutcome, 'achieved' | 'why'> | null = null
  const { pivot } = cloud.machines
  cloud.machines.pivot = async (request) => {
    asked.push(request)
    return { ...(await pivot.call(cloud.machines, request)), ...less }
  }
  expect(await take(cloud, instance, 'application')).toEqual({ consistency: 'application', consistency_why: null })
  less = { achieved: 'crash', why: 'The guest runs no guest agent.' }
  expect(await take(cloud, instance, 'application')).toEqual({ consistency: 'crash', consistency_why: less.why })
  const [first] = await volumesOf(cloud, instance)
  expect(await takeOfVolume(cloud, first!, 'filesystem')).toEqual({ consistency: 'crash', consistency_why: less.why })
  expect(asked.map(({ consistency, freezeSeconds }) => [consistency, freezeSeconds])).toEqual([
    ['application', 5],
    ['application', 5],
    ['filesystem', 5],
  ])
})

test('a machine that its guest shut down left whole file systems; one that was switched off did not', async () => {
  const cloud = await makeCloud('one')
  const { commands, caller, done } = cloud
  const instance = await cloud.makeInstance(1)
  await done(commands.stopInstance(caller, instance, graceful))
  expect(await take(cloud, instance, 'filesystem')).toEqual(whole)
  expect(await take(cloud, instance, 'crash')).toEqual(whole)
  expect(await take(cloud, instance, 'application')).toEqual({
    consistency: 'filesystem',
    consistency_why:
      'The instance was off, left by a guest that had shut down: file systems are whole, but no freeze hook ran.',
  })
  await done(commands.startInstance(caller, instance))
  await done(commands.stopInstance(caller, instance, hard))
  expect(await take(cloud, instance, 'filesystem')).toEqual(unknown)
  expect(await take(cloud, instance, 'crash')).toEqual({ consistency: 'crash', consistency_why: null })
})

test('a guest that shuts itself down is noticed, one that merely is off is not taken for that', async () => {
  const cloud = await makeCloud('one')
  const { db, operations, machines } = cloud
  const { id: host } = await db.selectFrom('hosts').select('id').executeTakeFirstOrThrow()
  for (const [how, expected] of [
    [graceful, whole],
    [hard, unknown],
  ] as const) {
    const instance = await cloud.makeInstance(0)
    await machines.stopMachine(instance, how)
    await reconcileHost({ db, operations, hosts: () => machines }, host)
    expect(await take(cloud, instance, 'filesystem')).toEqual(expected)
  }
})

test('a volume takes along how it was left; whoever opens it or turns it to another head makes that forgotten', async () => {
  const cloud = await makeCloud('one')
  const { commands, caller, done, machines } = cloud
  const instance = await cloud.makeInstance(1)
  await done(commands.stopInstance(caller, instance, graceful))
  const [, data] = await volumesOf(cloud, instance)
  await done(commands.detachVolume(caller, instance, data!))
  expect(await takeOfVolume(cloud, data!, 'filesystem')).toEqual(whole)
  const other = await cloud.makeInstance(0)
  await done(
    commands.attachVolume(caller, { instance: other, volume: data!, device: null, deleteOnTermination: false, tag: null }),
  )
  machines.kill(other)
  await done(commands.stopInstance(caller, other, hard))
  await done(commands.detachVolume(caller, other, data!))
  expect(await takeOfVolume(cloud, data!, 'filesystem')).toEqual({
    consistency: 'crash',
    consistency_why: 'The volume was not in use, and it is not known that the guest that used it last had shut down.',
  })
})

test('a safety snapshot says how its machine was stopped; what a rollback brought back is not called clean', async () => {
  const cloud = await makeCloud('one')
  const { db, commands, caller, done } = cloud
  const instance = await cloud.makeInstance(0)
  const image = await cloud.snapshot(instance, 'then')
  const safety = async (stop: typeof hard | typeof graceful) => {
    const { safetySnapshots } = await cloud.rollback(instance, image, { stop, powerStateAfter: 'off' })
    return (await rowOf(db, (safetySnapshots as SnapshotId[])[0]!))?.consistency
  }
  expect(await safety(graceful)).toBe('filesystem')
  expect(await take(cloud, instance, 'filesystem')).toEqual(unknown)
  await done(commands.startInstance(caller, instance))
  expect(await safety(hard)).toBe('crash')
  await done(commands.startInstance(caller, instance))
  await done(commands.stopInstance(caller, instance, graceful))
  expect(await safety(hard)).toBe('filesystem')
})

test('where the storage takes the points the machine is paused, and goes on even when that fails', async () => {
  const cloud = await makeCloud('many')
  const { commands, caller, machines, ended } = cloud
  const instance = await cloud.makeInstance(0)
  const why = 'A guest with disks in such a pool is paused for a snapshot, not frozen.'
  expect(await take(cloud, instance, 'filesystem')).toEqual({ consistency: 'crash', consistency_why: why })
  const { pauseMachine } = machines
  machines.pauseMachine = async (which) => {
    await pauseMachine.call(machines, which)
    throw refuse.hostUnreachable({ host: 'memory' })
  }
  const failed = await ended(
    await commands.createInstanceSnapshot(caller, {
      instance,
      name: 'failed',
      metadata: {},
      disks: null,
      consistency: 'crash',
    }),
  )
  expect(failed.state).toBe('undone')
  expect((await machines.machine(instance)).state).toBe('running')
})

test('the storage keeps it too, so that it outlives the database', async () => {
  const cloud = await makeCloud('one')
  const instance = await cloud.makeInstance(0)
  await take(cloud, instance, 'application')
  const { layers } = await cloud.storage.survey()
  const said = layers.flatMap(({ record }) => record?.points.flatMap(({ snapshots }) => snapshots) ?? [])
  expect(said).toMatchObject([{ consistency: 'application', consistencyWhy: null }])
})

test('a blank volume that nobody has used is called no more than it is', async () => {
  const cloud = await makeCloud('one')
  const { commands, caller, done } = cloud
  const source = { from: 'blank', sizeBytes: GiB } as const
  const { volume } = await done(commands.createVolume(caller, { name: newId(), description: null, source, metadata: {} }))
  expect((await takeOfVolume(cloud, volume, 'application'))?.consistency).toBe('crash')
})
