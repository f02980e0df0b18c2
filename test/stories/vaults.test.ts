/** Vaults and host groups through the commands. */
import { sql } from 'kysely'
import { beforeEach, describe, expect, test } from 'vitest'
import { sweeperWatcher } from '../../src/app/watchers/sweeper.ts'
import { type BackupId, type HostId, newId, type VaultId, type VolumeId } from '../../src/domain/ids.ts'
import { GiB } from '../../src/domain/volume.ts'
import type { Db } from '../../src/ports/tables.ts'
import { type Cloud, makeCloud } from '../support/cloud.ts'

let cloud: Cloud
beforeEach(async () => {
  cloud = await makeCloud('one')
})

const place = (directory: string) => ({
  name: directory.slice(1),
  directory,
  bytesPerSecond: null,
  parallel: 8,
  isDefault: false,
})
const make = (directory = '/vault', more: object = {}) =>
  cloud.commands.createVault(cloud.caller, { ...place(directory), ...more })
const newVolume = async (): Promise<VolumeId> => {
  const source = { from: 'blank', sizeBytes: GiB } as const
  return (await cloud.done(cloud.commands.createVolume(cloud.caller, { name: 'v', description: null, metadata: {}, source })))
    .volume
}
const request = (volume: VolumeId) =>
  ({
    volume,
    name: null,
    description: null,
    metadata: {},
    snapshot: null,
    consistency: 'crash',
    force: true,
    read: 'auto',
  }) as const
const backUp = async (volume: VolumeId): Promise<BackupId> =>
  (await cloud.done(cloud.commands.createBackup({ ...cloud.caller, requestId: newId() }, request(volume)))).backup
const vaultOf = async (backup: BackupId): Promise<VaultId> =>
  (await cloud.db.selectFrom('backups').select('vault_id').where('id', '=', backup).executeTakeFirstOrThrow()).vault_id
const defaults = async () =>
  (await cloud.db.selectFrom('vaults').select('id').where('is_default', '=', true).execute()).map(({ id }) => id)

/** All that the database holds, as text. */
async function everythingIn(db: Db): Promise<string> {
  const { rows: tables } = await sql<{ name: string }>`
    select quote_ident(schemaname) || '.' || quote_ident(tablename) as name from pg_tables where schemaname = 'public'`.execute(
    db,
  )
  const texts = []
  for (const { name } of tables) {
    const { rows } = await sql<{ text: string }>`select t::text as text from ${sql.raw(name)} t`.execute(db)
    texts.push(...rows.map(({ text }) => text))
  }
  return texts.join('\n')
}

test('the key of a vault is nowhere but sealed: in no table, no event, no log line', async () => {
  const { recoveryKey, vault } = await make()
  const { recoveryKey: another } = await cloud.commands.newRecoveryKey(cloud.caller, vault, { replace: false })
  const volume = await newVolume()
  const backup = await backUp(volume)
  await cloud.done(cloud.commands.verifyVault(cloud.caller, vault))
  await cloud.done(cloud.commands.deleteBackup(cloud.caller, backup, { confirm: null }))
  cloud.vaults.away = true
  await cloud.ended(await cloud.commands.verifyVault(cloud.caller, vault))
  cloud.vaults.away = false
  const { key } = cloud.vaults.at('/vault')
  const hex = Buffer.from(key, 'base64').toString('hex')
  const written = [await everythingIn(cloud.db), JSON.stringify(cloud.log.lines, errorsToo)].join('\n')
  expect(written).toContain(backup)
  expect(written.length).toBeGreaterThan(5_000)
  for (const secret of [key, hex, recoveryKey, another]) expect(written.includes(secret)).toBe(false)
})

const errorsToo = (_key: string, value: unknown): unknown =>
  value instanceof Error ? { ...value, name: value.name, message: value.message, stack: value.stack } : value

test('progress is told in bytes, rate and what remains', async () => {
  await make()
  const volume = await newVolume()
  const { operation } = await cloud.done(cloud.commands.createBackup(cloud.caller, request(volume)))
  const { rows } = await sql<{ data: Record<string, unknown> }>`
    select data from operation_events where operation_id = ${operation} and type = 'progress' order by seq`.execute(cloud.db)
  expect(rows.map(({ data }) => data)).toEqual([
    { step: 'write', doneBytes: 0, totalBytes: GiB, bytesPerSecond: 0, remainingSeconds: null },
    { step: 'write', doneBytes: GiB, totalBytes: GiB, bytesPerSecond: 1024 ** 2, remainingSeconds: 0 },
  ])
})

describe('which vault', () => {
  test('the first one is the default; one that could not be made changes nothing', async () => {
    const { vault: first } = await make('/one')
    const { vault: second } = await make('/two')
    expect(await defaults()).toEqual([first])
    await cloud.commands.changeVault(cloud.caller, second, { isDefault: true, name: 'zwei' })
    expect(await defaults()).toEqual([second])
    await expect(make('/one', { name: 'other', isDefault: true })).rejects.toMatchObject({ code: 'vaultNotEmpty' })
    await expect(make('/three', { name: 'zwei' })).rejects.toMatchObject({ code: 'nameTaken' })
    expect(await defaults()).toEqual([second])
    expect(await cloud.db.selectFrom('vaults').select('id').execute()).toHaveLength(2)
  })

  test('that of the host’s group, else the default', async () => {
    const { commands, caller, db } = cloud
    const { vault: byDefault } = await make('/default')
    const { vault: own } = await make('/own')
    const volume = await newVolume()
    const first = await backUp(volume)
    expect(await vaultOf(first)).toBe(byDefault)
    const { group } = await commands.createHostGroup(caller, { name: 'rack', vault: null })
    const { id: host } = await db.selectFrom('hosts').select('id').executeTakeFirstOrThrow()
    await commands.setHostGroup(caller, host, group)
    expect(await vaultOf(await backUp(volume))).toBe(byDefault)
    await commands.changeHostGroup(caller, group, { vault: own })
    const other = await backUp(volume)
    expect(await vaultOf(other)).toBe(own)
    // Each vault has a history of its own.
    const row = await db.selectFrom('backups').selectAll().where('id', '=', other).executeTakeFirstOrThrow()
    expect(row).toMatchObject({ base_backup_id: null, full_because: 'It is the first backup of the volume in this vault.' })
    await expect(commands.removeVault(caller, own)).rejects.toMatchObject({ code: 'vaultInUse' })
    await cloud.done(commands.deleteBackup(caller, other, { confirm: null }))
    await expect(commands.removeVault(caller, own)).rejects.toThrow('host group rack')
    await commands.deleteHostGroup(caller, group)
    await commands.removeVault(caller, own)
    expect(
      (
        await db
          .selectFrom('hosts')
          .select('group_id')
          .where('id', '=', host as HostId)
          .executeTakeFirstOrThrow()
      ).group_id,
    ).toBe(null)
    await expect(commands.setHostGroup(caller, 'nowhere', null)).rejects.toMatchObject({ code: 'notFound' })
    await expect(commands.createHostGroup(caller, { name: 'x', vault: own })).rejects.toMatchObject({ code: 'notFound' })
  })
})

test('a test of the connection is noted, as it went', async () => {
  const { vault } = await make()
  const row = () =>
    cloud.db.selectFrom('vaults').select(['tested_at', 'test_problem']).where('id', '=', vault).executeTakeFirstOrThrow()
  expect(await cloud.commands.testVault(cloud.caller, vault)).toMatchObject({ sharesDiskWith: [] })
  expect(await row()).toEqual({ tested_at: expect.any(Date), test_problem: null })
  cloud.vaults.away = true
  await expect(cloud.commands.testVault(cloud.caller, vault)).rejects.toMatchObject({ code: 'vaultUnreachable' })
  expect((await row()).test_problem).toMatch(/Mount it and retry/)
})

test('new recovery keys are added to the old ones, or replace them', async () => {
  const { vault } = await make()
  const slots = () => cloud.vaults.identity('/vault')!.slots.length
  await cloud.commands.newRecoveryKey(cloud.caller, vault, { replace: false })
  await Promise.all([1, 2].map(() => cloud.commands.newRecoveryKey(cloud.caller, vault, { replace: false })))
  expect(slots()).toBe(4)
  await cloud.commands.newRecoveryKey(cloud.caller, vault, { replace: true })
  expect(slots()).toBe(1)
})

describe('sweeps', () => {
  const sweep = (againAfterSeconds: number) =>
    sweeperWatcher({ ...cloud, hostSilentSeconds: 3600, againAfterSeconds }, 0).look(new AbortController().signal)
  const due = () => cloud.db.selectFrom('sweeps').selectAll().execute()
  const swept = async (state: 'done' | 'undone') =>
    (await cloud.operations.list({ kind: 'sweep-vault', states: [state], limit: 10 })).map(({ result }) => result)
  const resting = async () => {
    const open = await cloud.operations.list({ kind: 'sweep-vault', states: ['pending', 'running'], limit: 10 })
    for (const { id } of open) await cloud.operations.ended(id)
  }

  let vault: VaultId
  let volume: VolumeId
  beforeEach(async () => {
    ;({ vault } = await make())
    volume = await newVolume()
    await cloud.done(cloud.commands.deleteBackup(cloud.caller, await backUp(volume), { confirm: null }))
  })

  test('follow a deletion, at two marks, and end when nothing is left', async () => {
    expect(await due()).toMatchObject([{ vault_id: vault, volume_id: volume }])
    await sweep(0)
    await resting()
    expect(await swept('done')).toMatchObject([{ removedObjects: 0, markedObjects: 1 }])
    expect(await due()).toHaveLength(1)
    await sweep(0)
    await resting()
    expect(await swept('done')).toMatchObject([{ removedObjects: 1, markedObjects: 0 }, {}])
    expect(await due()).toEqual([])
    await sweep(0)
    expect(await swept('done')).toHaveLength(2)
  })

  test('give way to a backup, and are due again later', async () => {
    let waiting = 0
    cloud.mover.gate = async (what, signal) => {
      if (what !== 'sweep') return
      waiting += 1
      await new Promise((_resolve, reject) => signal?.addEventListener('abort', () => reject(new Error('told to stop'))))
    }
    await sweep(3600)
    await expect.poll(() => waiting).toBe(1)
    await backUp(volume)
    expect(await swept('undone')).toHaveLength(1)
    const [row] = await due()
    expect(row!.due_at.getTime()).toBeGreaterThan(Date.now() + 3_000_000)
    await sweep(3600)
    expect(waiting).toBe(1)
  })
})
