/** The point of a former backup is used only where it really is that: also after recoveries and older copies of the database. */
import { beforeEach, expect, test } from 'vitest'
import { type BackupId, type LayerId, newId, type VaultId, type VolumeId } from '../../src/domain/ids.ts'
import { GiB } from '../../src/domain/volume.ts'
import { type Cloud, makeCloud } from '../support/cloud.ts'
import { keepTables } from '../support/crash/tables-state.ts'

let cloud: Cloud
let vault: VaultId
let volume: VolumeId

beforeEach(async () => {
  cloud = await makeCloud('one')
  const { commands, caller, done } = cloud
  const place = { name: 'vault', directory: '/vault', bytesPerSecond: null, parallel: 8, isDefault: false }
  ;({ vault } = await commands.createVault(caller, place))
  const source = { from: 'blank', sizeBytes: GiB } as const
  ;({ volume } = await done(commands.createVolume(caller, { name: 'v', description: null, metadata: {}, source })))
})

const headOf = async (): Promise<LayerId> =>
  (await cloud.db.selectFrom('volumes').select('head_layer_id').where('id', '=', volume).executeTakeFirstOrThrow())
    .head_layer_id
const write = async (block: number) => cloud.storage.write(await headOf(), block, block)
const backUp = async (): Promise<BackupId> => {
  const request = { volume, name: null, description: null, metadata: {}, snapshot: null, force: true } as const
  const caller = { ...cloud.caller, requestId: newId<never>() }
  return (await cloud.done(cloud.commands.createBackup(caller, { ...request, consistency: 'crash', read: 'auto' }))).backup
}
const rowOf = (id: BackupId) => cloud.db.selectFrom('backups').selectAll().where('id', '=', id).executeTakeFirstOrThrow()
const recoverPools = async () => {
  const { operations } = await cloud.commands.recoverPools(cloud.caller, null)
  for (const operation of operations) await cloud.done(Promise.resolve({ operation }))
}

test('a record on the storage that does not name the point makes the next backup read everything', async () => {
  await write(1)
  const first = await backUp()
  const { snapshot_id } = await rowOf(first)
  const { layer_id: layer } = await cloud.db
    .selectFrom('volume_snapshots as s')
    .innerJoin('points as p', 'p.id', 's.point_id')
    .select('p.layer_id')
    .where('s.id', '=', snapshot_id!)
    .executeTakeFirstOrThrow()
  const record = (await cloud.storage.readRecord(layer))!
  expect(record.points[0]!.snapshots).toMatchObject([{ kind: 'backup', metadata: { backup: first } }])
  await cloud.storage.describe({ ...record, points: record.points.map((point) => ({ ...point, snapshots: [] })) })
  await write(2)
  const second = await backUp()
  expect(await rowOf(second)).toMatchObject({
    base_backup_id: null,
    full_because: 'The storage does not say that the kept point is the one of the previous backup.',
  })
  expect(cloud.vaults.contentOf(second)).toEqual({ 1: 1, 2: 2 })
})

test('an older copy of the database: its points are not believed, what the pool and the vault hold is', async () => {
  await write(1)
  const first = await backUp()
  const toOlderCopy = await keepTables(cloud.db, 'older')
  await write(2)
  const second = await backUp()
  await write(3)
  await toOlderCopy()
  await recoverPools()

  const third = await backUp()
  expect(await rowOf(third)).toMatchObject({
    base_backup_id: null,
    full_because: 'The storage does not say that the kept point is the one of the previous backup.',
  })
  expect(cloud.vaults.contentOf(third)).toEqual({ 1: 1, 2: 2, 3: 3 })
  await cloud.done(cloud.commands.recoverVault(cloud.caller, vault))
  expect((await rowOf(second)).state).toBe('available')
  expect((await rowOf(first)).state).toBe('available')
  await write(4)
  const fourth = await backUp()
  expect(await rowOf(fourth)).toMatchObject({ base_backup_id: third, read_bytes: 65_536 })
  expect(cloud.vaults.contentOf(fourth)).toEqual({ 1: 1, 2: 2, 3: 3, 4: 4 })
})

test('all rows lost: the pool gives the point back, the vault the backup, and the next one reads only what changed', async () => {
  await write(1)
  const first = await backUp()
  const { db, commands, caller, done } = cloud
  await db.deleteFrom('backups').execute()
  await db.deleteFrom('volume_snapshots').execute()
  await db.deleteFrom('volumes').execute()
  await recoverPools()
  await done(commands.recoverVault(caller, vault))
  expect((await rowOf(first)).snapshot_id).not.toBe(null)
  await write(2)
  const second = await backUp()
  expect(await rowOf(second)).toMatchObject({ base_backup_id: first, full_because: null, read_bytes: 65_536 })
  expect(cloud.vaults.contentOf(second)).toEqual({ 1: 1, 2: 2 })
})
