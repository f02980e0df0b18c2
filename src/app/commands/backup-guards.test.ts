/** Guard rails of backups, each against fifty requests at once on real PostgreSQL. */
import { beforeAll, describe, expect, test } from 'vitest'
import { vaultGate } from '../../../test/support/gates.ts'
import { type NativeServer, nativeServer, type TestUser } from '../../../test/support/native-server.ts'
import { type BackupId, type InstanceId, newId, type PlanId, type SnapshotId, type VolumeId } from '../../domain/ids.ts'
import { Refusal } from '../../domain/refusals.ts'
import type { Caller } from '../caller.ts'
import type { BackupRequest } from '../commands.ts'
import { createPlan } from '../plans.ts'

const MiB = 1024 ** 2
let server: NativeServer
let alice: TestUser
let carol: TestUser
let admin: TestUser

beforeAll(async () => {
  server = await nativeServer()
  alice = await server.user('alice', 'blue', 'member')
  carol = await server.user('carol', 'blue', 'member')
  admin = await server.user('root', 'admins', 'admin')
})

const vaultRequest = { name: 'vault', directory: '/vault', bytesPerSecond: null, parallel: 8, isDefault: false }

/** Each request has an id of its own, as those of a face have. */
const by = ({ caller }: TestUser): Caller => ({ ...caller, requestId: newId() })

const backup = (volume: VolumeId, who = alice, more: Partial<BackupRequest> = {}) =>
  server.commands.createBackup(by(who), {
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
const instanceBackups = (instance: InstanceId) =>
  server.commands.createInstanceBackups(by(alice), {
    instance,
    disks: null,
    name: null,
    description: null,
    metadata: {},
    consistency: 'crash',
    read: 'auto',
  })
const snapshot = (volume: VolumeId, who = alice) =>
  server.commands.createVolumeSnapshot(by(who), {
    volume,
    name: 's',
    description: null,
    metadata: {},
    force: true,
    consistency: 'crash',
  })

const makeVolume = async (plan: PlanId | null = null): Promise<VolumeId> => {
  const source = { from: 'blank', sizeBytes: MiB } as const
  const made = await server.commands.createVolume(by(alice), { name: 'v', description: null, metadata: {}, source, plan })
  await server.done(made)
  return made.volume
}
const makePlan = async (terms: { maxBackups?: number; cooldownSeconds?: number }) =>
  (
    await createPlan(server.db, {
      name: newId(),
      maxSnapshots: 5,
      maxBackups: 10,
      cooldownSeconds: 0,
      snapshotCreditValue: 0,
      backupCreditValue: 0,
      ...terms,
    })
  ).id

/** `accepted`, or the code and the sentence of the refusal. */
const codeOf = async (asked: Promise<unknown>): Promise<string> => {
  try {
    await asked
    return 'accepted'
  } catch (error) {
    if (error instanceof Refusal) return error.code
    throw error
  }
}
const tally = (codes: readonly string[]) =>
  Object.fromEntries([...new Set(codes)].map((code) => [code, codes.filter((other) => other === code).length]))
const fifty = async (ask: (n: number) => Promise<unknown>) =>
  tally(await Promise.all(Array.from({ length: 50 }, (_, n) => codeOf(ask(n)))))

test('without a vault a backup is refused, and nothing is left of it', async () => {
  const volume = await makeVolume()
  await expect(backup(volume)).rejects.toMatchObject({
    code: 'noVault',
    message: expect.stringMatching(/^Hypervisor has no backup storage configured\./),
  })
  expect(await server.db.selectFrom('volume_snapshots').select('id').where('volume_id', '=', volume).execute()).toEqual([])
  await server.commands.createVault(by(admin), vaultRequest)
})

describe('of fifty requests at once exactly as many pass as the guard allows', () => {
  test('one operation a volume, from its point to the last byte', async () => {
    const volume = await makeVolume()
    const gate = vaultGate(server)
    expect(await fifty(() => backup(volume))).toEqual({ accepted: 1, volumeBusy: 49 })
    await expect.poll(gate.waiting).toBe(1)
    expect(await fifty((n) => (n % 2 ? backup(volume) : snapshot(volume)))).toEqual({ volumeBusy: 50 })
    await expect(snapshot(volume)).rejects.toThrow('Volume is busy with operation: backup')
    await gate.open()
    expect(await codeOf(snapshot(volume))).toBe('accepted')
  })

  test('one operation a volume also where the point is there already, whoever asks', async () => {
    const volume = await makeVolume()
    const { snapshot: point, operation } = await snapshot(volume)
    await server.done({ operation })
    const gate = vaultGate(server)
    const ofPoint = (n: number) => backup(volume, n % 2 ? alice : carol, { snapshot: point })
    expect(await fifty(ofPoint)).toEqual({ accepted: 1, volumeBusy: 49 })
    await gate.open()
  })

  test('three operations a user, the backups of an instance being one', async () => {
    const volumes = await Promise.all(Array.from({ length: 50 }, () => makeVolume()))
    const gate = vaultGate(server)
    const first = await Promise.all(volumes.map((volume) => codeOf(backup(volume))))
    expect(tally(first)).toEqual({ accepted: 3, volumeOperationLimit: 47 })
    const free = volumes.filter((_, n) => first[n] !== 'accepted')
    const others = await Promise.all(free.map((volume) => codeOf(backup(volume, carol))))
    expect(tally(others)).toEqual({ accepted: 3, volumeOperationLimit: 44 })
    await gate.open()

    const instances: InstanceId[] = []
    for (let n = 0; n < 5; n++) instances.push(await server.instance(alice, `i${n}`, 3))
    const again = vaultGate(server)
    const codes = await Promise.all(instances.map((instance) => codeOf(instanceBackups(instance))))
    expect(tally(codes)).toEqual({ accepted: 3, volumeOperationLimit: 2 })
    await again.open()
  })

  test('the cap of the plan', async () => {
    const volume = await makeVolume(await makePlan({ maxBackups: 4 }))
    for (let kept = 0; kept < 4; kept++) {
      expect(await fifty(() => backup(volume))).toEqual({ accepted: 1, volumeBusy: 49 })
      const going = await server.operations.list({ states: ['pending', 'running'], limit: 100 })
      await Promise.all(going.map(({ id }) => server.operations.ended(id)))
    }
    expect(await fifty(() => backup(volume))).toEqual({ backupLimit: 50 })
    await expect(backup(volume)).rejects.toThrow('Backup limit reached. Delete an existing backup first.')
    const { id } = await server.db.selectFrom('backups').select('id').where('volume_id', '=', volume).executeTakeFirstOrThrow()
    await server.done(await server.commands.deleteBackup(by(alice), id, { confirm: null }))
    expect(await codeOf(backup(volume))).toBe('accepted')
  })

  test('the cooldown', async () => {
    const volume = await makeVolume(await makePlan({ cooldownSeconds: 300 }))
    await server.done(await backup(volume))
    expect(await fifty((n) => (n % 2 ? backup(volume) : snapshot(volume)))).toEqual({ volumeCooldown: 50 })
    await expect(backup(volume)).rejects.toThrow(/^Volume is in cooldown\. Try again in (2\d\d|300) seconds\.$/)
  })
})

describe('while only the data is being written', () => {
  let volume: VolumeId
  let instance: InstanceId
  let device: string
  let then: SnapshotId

  beforeAll(async () => {
    instance = await server.instance(alice, 'guarded', 2)
    const attached = await server.db
      .selectFrom('attachments')
      .selectAll()
      .where('instance_id', '=', instance)
      .orderBy('device')
      .execute()
    ;({ volume_id: volume, device } = attached[1]!)
    server.host.write(instance, device, 1, 0x11)
    const taken = await snapshot(volume)
    await server.done(taken)
    then = taken.snapshot
  })

  test('an instance rollback goes through, and the backup ends from its point', async () => {
    server.host.write(instance, device, 2, 0x22)
    const gate = vaultGate(server)
    const begun = await backup(volume)
    await expect.poll(gate.waiting).toBe(1)
    const rolledBack = await server.commands.rollback(by(alice), instance, {
      target: { snapshots: [then] },
      disks: null,
      powerStateAfter: 'as-before',
      skipSafetySnapshot: true,
      stop: { mode: 'hard', graceSeconds: 0 },
    })
    await server.done(rolledBack)
    expect(server.host.read(instance, device)).toEqual({ 1: 0x11 })
    await gate.open()
    await server.done(begun)
    expect(server.vaults.contentOf(begun.backup)).toEqual({ 1: 0x11, 2: 0x22 })
    // The next one reads what the rollback turned back, and no more.
    server.host.write(instance, device, 3, 0x33)
    const next = await backup(volume)
    await server.done(next)
    expect(await rowOf(next.backup)).toMatchObject({ base_backup_id: begun.backup, read_bytes: 2 * 65_536 })
    expect(server.vaults.contentOf(next.backup)).toEqual({ 1: 0x11, 3: 0x33 })
  })

  test('attaching, extending and power go through; another volume operation and its deletion do not', async () => {
    const free = await makeVolume()
    const gate = vaultGate(server)
    const begun = await backup(free)
    await expect.poll(gate.waiting).toBe(1)
    expect(await codeOf(server.commands.deleteVolume(by(alice), free, { cascade: true }))).toBe('volumeBusy')
    await server.done(await server.commands.extendVolume(by(alice), free, 2 * MiB))
    const attach = { instance, volume: free, device: null, deleteOnTermination: true, tag: null }
    await server.done(await server.commands.attachVolume(by(alice), attach))
    // With its instance the volume goes too: the backup is written from its point all the same.
    await server.done(await server.commands.deleteInstance(by(alice), instance))
    expect(
      await server.db.selectFrom('volumes').select('id').where('id', '=', free).where('deleted_at', 'is', null).execute(),
    ).toEqual([])
    await gate.open()
    await server.done(begun)
    expect(await rowOf(begun.backup)).toMatchObject({ state: 'available', size_bytes: MiB, snapshot_id: null })
  })
})

const rowOf = (id: BackupId) => server.db.selectFrom('backups').selectAll().where('id', '=', id).executeTakeFirstOrThrow()

test('in place a backup is restored only where no running machine writes, and only one that fits', async () => {
  const instance = await server.instance(alice, 'owner', 2)
  const { volume_id: volume, device } = await server.db
    .selectFrom('attachments')
    .selectAll()
    .where('instance_id', '=', instance)
    .where('device', '=', 'vdb')
    .executeTakeFirstOrThrow()
  server.host.write(instance, device, 1, 0x11)
  const { backup: id, operation } = await backup(volume)
  await server.done({ operation })
  const { name } = await server.db.selectFrom('volumes').select('name').where('id', '=', volume).executeTakeFirstOrThrow()
  const restore = (confirm: string | null, into = volume) =>
    server.commands.restoreBackup(by(alice), into, id, { skipSafetySnapshot: false, confirm })
  await expect(restore(name)).rejects.toThrow(/^Cannot restore in-place while attached to a running instance\./)
  await server.done(await server.commands.stopInstance(by(alice), instance, { mode: 'hard', graceSeconds: 0 }))
  expect(await codeOf(restore('another'))).toBe('notConfirmed')
  expect(await codeOf(restore(null, await makeVolume()))).toBe('backupLarger')
  await server.done(await restore(name))
  await server.done(await server.commands.startInstance(by(alice), instance))
  expect(server.host.read(instance, device)).toEqual({ 1: 0x11 })
  const stranger = await server.user('mallory', 'red', 'member')
  for (const asked of [
    server.commands.restoreBackup(by(stranger), volume, id, { skipSafetySnapshot: false, confirm: null }),
    server.commands.deleteBackup(by(stranger), id, { confirm: null }),
    server.commands.createVolumeFromBackup(by(stranger), {
      backup: id,
      name: null,
      description: null,
      sizeBytes: null,
      metadata: {},
    }),
  ])
    expect(await codeOf(asked)).toBe('notFound')
})
