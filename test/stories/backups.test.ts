/** Backups through the commands, with pools and vaults in memory. */
import { beforeEach, describe, expect, test } from 'vitest'
import type { BackupRequest } from '../../src/app/commands.ts'
import { mergerWatcher } from '../../src/app/watchers/merger.ts'
import { type BackupId, newId, type OperationId, type SnapshotId, type VaultId, type VolumeId } from '../../src/domain/ids.ts'
import { GiB } from '../../src/domain/volume.ts'
import { type Cloud, makeCloud } from '../support/cloud.ts'

let cloud: Cloud
let vault: VaultId
let recoveryKey: string

beforeEach(async () => {
  cloud = await makeCloud('one')
  ;({ vault, recoveryKey } = await cloud.commands.createVault(cloud.caller, {
    name: 'vault',
    directory: '/vault',
    bytesPerSecond: null,
    parallel: 8,
    isDefault: false,
  }))
})

const asked = (volume: VolumeId, more: Partial<BackupRequest> = {}): BackupRequest => ({
  volume,
  name: null,
  description: null,
  metadata: {},
  snapshot: null,
  consistency: 'crash',
  force: true,
  read: 'auto',
  ...more,
})

const blank = {
  name: 'v',
  description: null,
  metadata: { who: 'me' },
  source: { from: 'blank', sizeBytes: GiB },
} as const

const newVolume = async () => (await cloud.done(cloud.commands.createVolume(cloud.caller, blank))).volume
const headOf = async (volume: VolumeId) =>
  (await cloud.db.selectFrom('volumes').select('head_layer_id').where('id', '=', volume).executeTakeFirstOrThrow())
    .head_layer_id
const write = async (volume: VolumeId, block: number, byte: number) => cloud.storage.write(await headOf(volume), block, byte)
const contentOf = async (volume: VolumeId) => cloud.storage.read(await headOf(volume))
const backUp = async (volume: VolumeId, more: Partial<BackupRequest> = {}): Promise<BackupId> =>
  (await cloud.done(cloud.commands.createBackup(cloud.caller, asked(volume, more)))).backup
const rowOf = (backup: BackupId) =>
  cloud.db.selectFrom('backups').selectAll().where('id', '=', backup).executeTakeFirstOrThrow()

test('the first reads everything, the next only what changed; either is restored, in place and to a new volume', async () => {
  const volume = await newVolume()
  await write(volume, 1, 0x11)
  const first = await backUp(volume)
  await write(volume, 2, 0x22)
  const second = await backUp(volume, { name: 'second' })
  expect(await rowOf(first)).toMatchObject({
    state: 'available',
    name: expect.stringMatching(/^backup-/),
    base_backup_id: null,
    full_because: 'It is the first backup of the volume in this vault.',
    snapshot_id: null,
    vault_id: vault,
  })
  expect(await rowOf(second)).toMatchObject({ base_backup_id: first, full_because: null, read_bytes: 65_536 })

  await write(volume, 3, 0x33)
  const inPlace = { skipSafetySnapshot: false, confirm: 'v' }
  await cloud.done(cloud.commands.restoreBackup(cloud.caller, volume, first, inPlace))
  expect(await contentOf(volume)).toEqual({ 1: 0x11 })
  const request = { backup: second, name: null, description: null, sizeBytes: 2 * GiB, metadata: {} }
  const made = await cloud.done(cloud.commands.createVolumeFromBackup(cloud.caller, request))
  expect(await contentOf(made.volume)).toEqual({ 1: 0x11, 2: 0x22 })

  await write(volume, 4, 0x44)
  const third = await backUp(volume)
  expect(await rowOf(third)).toMatchObject({ base_backup_id: second })
  expect(cloud.vaults.contentOf(third)).toEqual({ 1: 0x11, 4: 0x44 })
})

test('all disks of an instance at one moment are one request; asked again it is the same', async () => {
  const instance = await cloud.makeInstance(2)
  const request = {
    instance,
    disks: null,
    name: 'all',
    description: null,
    metadata: {},
    consistency: 'crash',
    read: 'auto',
  } as const
  const caller = { ...cloud.caller, idempotencyKey: newId<OperationId>() }
  const begun = await cloud.commands.createInstanceBackups(caller, request)
  const again = await cloud.commands.createInstanceBackups(caller, request)
  expect(begun.backups).toHaveLength(3)
  expect(new Set(again.backups.map(({ backup }) => backup))).toEqual(new Set(begun.backups.map(({ backup }) => backup)))
  for (const one of begun.backups) await cloud.done(Promise.resolve(one))
  const moments = new Set(
    (await Promise.all(begun.backups.map(({ operation }) => cloud.operations.show(operation)))).map((one) => one?.waitsFor),
  )
  expect(moments.size).toBe(1)
})

test('a deleted backup takes its point along; the others stay', async () => {
  const volume = await newVolume()
  await write(volume, 1, 0x11)
  const first = await backUp(volume)
  const second = await backUp(volume, { name: 'second' })
  await expect(cloud.commands.deleteBackup(cloud.caller, second, { confirm: 'other' })).rejects.toMatchObject({
    code: 'notConfirmed',
  })
  await cloud.done(cloud.commands.deleteBackup(cloud.caller, second, { confirm: 'second' }))
  expect((await cloud.forest()).wanted.size).toBe(0)
  expect(cloud.vaults.contentOf(first)).toEqual({ 1: 0x11 })
  expect(cloud.vaults.contentOf(second)).toBe(undefined)
})

test('a vault is taken in again with its recovery key, and its backups are listed', async () => {
  const volume = await newVolume()
  await write(volume, 1, 0x11)
  const backup = await backUp(volume, { metadata: { a: 'b' } })
  await cloud.db.deleteFrom('backups').execute()
  await cloud.db.deleteFrom('vaults').execute()
  const request = { name: 'again', directory: '/vault', bytesPerSecond: null, parallel: 8, isDefault: false, recoveryKey }
  await expect(cloud.commands.addVault(cloud.caller, { ...request, recoveryKey: 'wrong' })).rejects.toMatchObject({
    code: 'recoveryKeyRefused',
  })
  expect(await cloud.commands.addVault(cloud.caller, request)).toEqual({ vault })
  const { result } = await cloud.done(cloud.commands.recoverVault(cloud.caller, vault))
  expect(result).toMatchObject({ backupsAdded: 1, problems: [] })
  expect(await rowOf(backup)).toMatchObject({ state: 'available', metadata: { a: 'b' }, volume_id: volume })
})

test('a kept point is nobody’s snapshot, and keeps no volume', async () => {
  const instance = await cloud.makeInstance(1)
  const { db, commands, caller } = cloud
  const disk = await db.selectFrom('attachments').selectAll().where('device', '=', 'vdb').executeTakeFirstOrThrow()
  const backup = await backUp(disk.volume_id)
  const hidden = (await rowOf(backup)).snapshot_id!
  const stop = { mode: 'hard', graceSeconds: 0 } as const
  await expect(commands.rollback(caller, instance, cloud.rollbackTo({ snapshots: [hidden] }))).rejects.toMatchObject({
    code: 'preflightFailed',
  })
  await cloud.done(commands.stopInstance(caller, instance, stop))
  const notFound = { code: 'notFound' }
  const restore = { skipSafetySnapshot: false, confirm: null }
  await expect(commands.restoreVolume(caller, disk.volume_id, hidden, restore)).rejects.toMatchObject(notFound)
  await expect(commands.deleteVolumeSnapshot(caller, hidden, { confirm: null })).rejects.toMatchObject(notFound)
  const source = { from: 'snapshot', snapshot: hidden, sizeBytes: null } as const
  await expect(commands.createVolume(caller, { ...blank, source })).rejects.toMatchObject(notFound)
  await expect(commands.createBackup(caller, asked(disk.volume_id, { snapshot: hidden }))).rejects.toMatchObject(notFound)

  await cloud.done(commands.detachVolume(caller, instance, disk.volume_id))
  await cloud.done(commands.deleteVolume(caller, disk.volume_id, { cascade: false }))
  expect(await rowOf(backup)).toMatchObject({ state: 'available', snapshot_id: null })
  expect((await cloud.forest()).wanted.size).toBe(0)
})

describe('merges', () => {
  const merge = () => mergerWatcher({ ...cloud, storage: () => cloud.storage }, 0).look(new AbortController().signal)
  const merges = async () => (await cloud.operations.list({ kind: 'merge-layers', limit: 10 })).map(({ state }) => state)
  const snapshot = async (volume: VolumeId) => {
    const taken = { volume, name: null, description: null, metadata: {}, force: true, consistency: 'crash' } as const
    return (await cloud.done(cloud.commands.createVolumeSnapshot(cloud.caller, taken))).snapshot
  }

  /** Its bottom layer is of no use to anybody any more. */
  async function mergeable(): Promise<{ volume: VolumeId; kept: SnapshotId }> {
    const volume = await newVolume()
    await write(volume, 1, 0x11)
    const first = await snapshot(volume)
    await write(volume, 2, 0x22)
    const kept = await snapshot(volume)
    await write(volume, 3, 0x33)
    await cloud.done(cloud.commands.deleteVolumeSnapshot(cloud.caller, first, { confirm: null }))
    return { volume, kept }
  }

  test.each(['what it holds now', 'a snapshot'] as const)('leave the layers of a point that is read: %s', async (what) => {
    const { volume, kept } = await mergeable()
    const gate = Promise.withResolvers<void>()
    let waiting = 0
    cloud.mover.gate = async () => {
      waiting += 1
      await gate.promise
    }
    const snapshotOf = what === 'a snapshot' ? kept : null
    const begun = await cloud.commands.createBackup(cloud.caller, asked(volume, { snapshot: snapshotOf }))
    await expect.poll(() => waiting).toBe(1)
    await merge()
    expect(await merges()).toEqual([])
    await mergeable()
    await merge()
    expect(await merges()).toHaveLength(1)
    gate.resolve()
    await cloud.done(Promise.resolve(begun))
    const another = async () => {
      await merge()
      return (await merges()).length
    }
    await expect.poll(another).toBeGreaterThan(1)
    const content = { 1: 0x11, 2: 0x22, ...(snapshotOf ? {} : { 3: 0x33 }) }
    expect(cloud.vaults.contentOf(begun.backup)).toEqual(content)
  })

  test('that are under way are waited for', async () => {
    const { volume, kept } = await mergeable()
    const gate = Promise.withResolvers<void>()
    const { storage } = cloud
    const before = storage.merge
    let merging = 0
    storage.merge = async (one) => {
      merging += 1
      await gate.promise
      return before.call(storage, one)
    }
    await merge()
    await expect.poll(() => merging).toBe(1)
    const begun = cloud.commands.createBackup(cloud.caller, asked(volume, { snapshot: kept }))
    const cancelled = () =>
      cloud.db.selectFrom('operations').select('cancel_requested').where('kind', '=', 'merge-layers').execute()
    await expect.poll(cancelled).toEqual([{ cancel_requested: true }])
    expect(await cloud.db.selectFrom('backups').select('id').execute()).toEqual([])
    gate.resolve()
    const { backup } = await cloud.done(begun)
    expect(cloud.vaults.contentOf(backup)).toEqual({ 1: 0x11, 2: 0x22 })
  })
})
