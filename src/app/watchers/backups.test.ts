/** Backups that hang, that are ended by force, and points that nobody claims. */
import { beforeAll, expect, test } from 'vitest'
import { vaultGate } from '../../../test/support/gates.ts'
import { type NativeServer, nativeServer, type TestUser } from '../../../test/support/native-server.ts'
import { quietLog } from '../../../test/support/quiet-log.ts'
import { type BackupId, newId, type OperationId, type VolumeId } from '../../domain/ids.ts'
import { refuse } from '../../domain/refusals.ts'
import { originOf } from '../caller.ts'
import { failReasonOf, findBackup, shownState } from '../views/backups.ts'
import { backupRowsWatcher } from './backup-rows.ts'
import { stalledWatcher } from './stalled.ts'

let server: NativeServer
let alice: TestUser
const now = new AbortController().signal

beforeAll(async () => {
  server = await nativeServer()
  alice = await server.user('alice', 'blue', 'member')
  const admin = await server.user('root', 'admins', 'admin')
  const vault = { name: 'vault', directory: '/vault', bytesPerSecond: null, parallel: 8, isDefault: false }
  await server.commands.createVault(admin.caller, vault)
})

async function makeVolume(): Promise<VolumeId> {
  const source = { from: 'blank', sizeBytes: 1024 ** 2 } as const
  const made = await server.commands.createVolume(alice.caller, { name: 'v', description: null, metadata: {}, source })
  await server.done(made)
  return made.volume
}

const backup = (volume: VolumeId) =>
  server.commands.createBackup(
    { ...alice.caller, requestId: newId() },
    { volume, name: 'b', description: null, metadata: {}, snapshot: null, consistency: 'crash', force: true, read: 'auto' },
  )
const rowOf = (id: BackupId) => server.db.selectFrom('backups').selectAll().where('id', '=', id).executeTakeFirstOrThrow()
const shown = async (id: BackupId) => {
  const policy = { allows: () => true, require: () => {} }
  const row = await findBackup({ db: server.db, policy }, alice.caller, id)
  return [shownState(row), failReasonOf(row)]
}
const look = (afterSeconds: number) =>
  stalledWatcher({ db: server.db, operations: server.operations, log: quietLog(), afterSeconds }, 0).look(now)
const makeOld = (operations: readonly OperationId[]) =>
  server.db
    .updateTable('operation_events')
    .set({ at: new Date(Date.now() - 7_300_000) })
    .where('operation_id', 'in', operations)
    .execute()
const tidy = () => backupRowsWatcher(server, 0).look(now)

/** Holds a call of the pool until it is opened. */
function held(call: 'newLayer' | 'remove') {
  const { pool } = server
  const { promise, resolve } = Promise.withResolvers<void>()
  const before = pool[call].bind(pool) as (...given: readonly unknown[]) => Promise<void>
  let waiting = 0
  Object.assign(pool, {
    [call]: async (...given: readonly unknown[]) => {
      waiting += 1
      await promise
      return before(...given)
    },
  })
  const open = () => {
    Object.assign(pool, { [call]: before })
    resolve()
  }
  return { waiting: () => waiting, open }
}

test('one that is written without progress is shown as failed, taken back, and its volume free', async () => {
  const volume = await makeVolume()
  const gate = vaultGate(server)
  const { backup: id, operation } = await backup(volume)
  await expect.poll(gate.waiting).toBe(1)
  await look(7200)
  expect((await rowOf(id)).state).toBe('creating')
  await makeOld([operation])
  await look(7200)
  expect(await server.operations.ended(operation)).toMatchObject({ state: 'undone', problem: { code: 'cancelled' } })
  expect(await shown(id)).toEqual(['failed', 'It made no progress for 120 minutes and was cancelled.'])
  expect(await rowOf(id)).toMatchObject({ state: 'error', snapshot_id: null })
  expect(server.vaults.contentOf(id)).toBe(undefined)
  await gate.open()
  await server.done(await backup(volume))
})

test('one whose point is not taken goes back together with the taking of the point', async () => {
  const volume = await makeVolume()
  const making = held('newLayer')
  const removing = held('remove')
  const { backup: id, operation } = await backup(volume)
  const moment = (await server.operations.show(operation))!.waitsFor!
  await expect.poll(making.waiting).toBe(1)
  await makeOld([operation])
  await look(7200)
  expect((await rowOf(id)).state).toBe('creating')
  await makeOld([operation, moment])
  await look(7200)
  expect((await rowOf(id)).state).toBe('error')
  await expect(backup(volume)).rejects.toMatchObject({ code: 'volumeBusy' })
  making.open()
  removing.open()
  for (const one of [moment, operation]) expect((await server.operations.ended(one)).state).toBe('undone')
  const hidden = await server.db.selectFrom('volume_snapshots').selectAll().where('volume_id', '=', volume).execute()
  expect(hidden.map(({ deleted_at }) => deleted_at !== null)).toEqual([true])
  await server.done(await backup(volume))
})

test('one that cannot be taken back is stuck and shown as failed; ended by force it can be deleted, and its point goes', async () => {
  const volume = await makeVolume()
  const { mover, vaults, operations, commands } = server
  const before = mover.writeBackup
  mover.writeBackup = async () => {
    vaults.away = true
    throw refuse.vaultUnreachable({ vault: 'vault' })
  }
  const { backup: id, operation } = await backup(volume)
  await expect.poll(() => operations.show(operation)).toMatchObject({ state: 'stuck' })
  expect(await shown(id)).toEqual(['failed', expect.stringContaining('Vault')])
  await expect(backup(volume)).rejects.toMatchObject({ code: 'volumeBusy' })
  await expect(commands.deleteBackup(alice.caller, id, { confirm: null })).rejects.toMatchObject({ code: 'resourceBusy' })
  await expect
    .poll(() =>
      operations.forceEnd(operation, originOf(alice.caller)).then(
        () => true,
        () => false,
      ),
    )
    .toBe(true)
  await tidy()
  expect(await rowOf(id)).toMatchObject({ state: 'error', snapshot_id: expect.any(String) })
  Object.assign(mover, { writeBackup: before })
  vaults.away = false
  await server.done(await commands.deleteBackup(alice.caller, id, { confirm: 'b' }))
  expect(await rowOf(id)).toMatchObject({ state: 'deleted', snapshot_id: null })
  const kept = server.db
    .selectFrom('volume_snapshots')
    .select('id')
    .where('volume_id', '=', volume)
    .where('deleted_at', 'is', null)
  expect(await kept.execute()).toEqual([])
})

test('a deletion that is interrupted for good leaves the backup for its owner to delete again', async () => {
  const volume = await makeVolume()
  const { backup: id, operation } = await backup(volume)
  await server.done({ operation })
  await server.db.updateTable('backups').set({ state: 'deleting' }).where('id', '=', id).execute()
  await tidy()
  expect(await rowOf(id)).toMatchObject({ state: 'error', fail_reason: 'Its operation was interrupted for good.' })
  await server.done(await server.commands.deleteBackup(alice.caller, id, { confirm: null }))
  expect(server.vaults.contentOf(id)).toBe(undefined)
})

test('a kept point that no backup claims goes after a day', async () => {
  const volume = await makeVolume()
  const { backup: id, operation } = await backup(volume)
  await server.done({ operation })
  const hidden = (await rowOf(id)).snapshot_id!
  const isThere = async () =>
    (await server.db.selectFrom('volume_snapshots').select('deleted_at').where('id', '=', hidden).executeTakeFirstOrThrow())
      .deleted_at === null
  const old = { updated_at: new Date(Date.now() - 25 * 3_600_000) }
  await server.db.updateTable('volume_snapshots').set(old).where('id', '=', hidden).execute()
  await tidy()
  expect(await isThere()).toBe(true)
  await server.db.updateTable('backups').set({ snapshot_id: null }).where('id', '=', id).execute()
  await tidy()
  await expect.poll(isThere).toBe(false)
})
