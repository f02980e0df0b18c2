/**
 * Writes, snapshots, restores across branches, backups, deletions, merges and sweeps of one volume in any order: every backup
 * that is listed restores byte for byte, and its point is used only where it is the right one.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { collectorWatcher } from '../../src/app/watchers/collector.ts'
import { mergerWatcher } from '../../src/app/watchers/merger.ts'
import { sweeperWatcher } from '../../src/app/watchers/sweeper.ts'
import { type BackupId, newId, type SnapshotId, type VolumeId } from '../../src/domain/ids.ts'
import { endedStates, operationStates } from '../../src/domain/operation.ts'
import { GiB } from '../../src/domain/volume.ts'
import { type Cloud, makeCloud } from '../support/cloud.ts'

type Content = Record<number, number>
const onSnapshot = ['restoreSnapshot', 'deleteSnapshot', 'backupSnapshot'] as const
const onBackup = ['restoreBackup', 'deleteBackup'] as const
const alone = ['snapshot', 'backup', 'fullBackup', 'tidy', 'sweep', 'recover'] as const
type Step =
  | { readonly do: 'write'; readonly block: number; readonly byte: number }
  | { readonly do: (typeof alone)[number] }
  | { readonly do: (typeof onSnapshot)[number] | (typeof onBackup)[number]; readonly nth: number }

const write = fc.record({ do: fc.constant('write' as const), block: fc.nat(5), byte: fc.integer({ min: 1, max: 255 }) })
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 2, arbitrary: write },
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom(...alone) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom(...onSnapshot, ...onBackup), nth: fc.nat(20) }) },
)

const now = new AbortController().signal

class Player {
  readonly #cloud: Cloud
  readonly #volume: VolumeId
  #content: Content = {}
  readonly #snapshots = new Map<SnapshotId, Content>()
  readonly backups = new Map<BackupId, Content>()
  incremental = 0

  constructor(cloud: Cloud, volume: VolumeId) {
    this.#cloud = cloud
    this.#volume = volume
  }

  async play(step: Step): Promise<void> {
    switch (step.do) {
      case 'write':
        this.#cloud.storage.write(await this.#head(), step.block, step.byte)
        this.#content = { ...this.#content, [step.block]: step.byte }
        return
      case 'snapshot':
        return this.#snapshot()
      case 'backup':
        return this.#backUp(null, 'auto', this.#content)
      case 'fullBackup':
        return this.#backUp(null, 'full', this.#content)
      case 'tidy':
        return this.#tidy()
      case 'sweep':
        return this.#sweep()
      case 'recover':
        return this.#recover()
      case 'restoreBackup':
      case 'deleteBackup':
        return this.#onBackup(step.do, pick(this.backups, step.nth))
      case 'backupSnapshot':
      case 'deleteSnapshot':
      case 'restoreSnapshot':
        return this.#onSnapshot(step.do, pick(this.#snapshots, step.nth))
    }
  }

  async #snapshot(): Promise<void> {
    const { commands, caller, done } = this.#cloud
    const request = { volume: this.#volume, name: null, description: null, metadata: {}, force: true } as const
    const { snapshot } = await done(commands.createVolumeSnapshot(caller, { ...request, consistency: 'crash' }))
    this.#snapshots.set(snapshot, this.#content)
  }

  async #onBackup(what: (typeof onBackup)[number], backup: BackupId | undefined): Promise<void> {
    const { commands, caller, done } = this.#cloud
    if (!backup) return
    if (what === 'deleteBackup') {
      await done(commands.deleteBackup(caller, backup, { confirm: null }))
      this.backups.delete(backup)
    } else {
      await done(commands.restoreBackup(caller, this.#volume, backup, { skipSafetySnapshot: true, confirm: null }))
      this.#content = this.backups.get(backup)!
    }
  }

  async #onSnapshot(what: (typeof onSnapshot)[number], snapshot: SnapshotId | undefined): Promise<void> {
    const { commands, caller, done } = this.#cloud
    if (!snapshot) return
    const content = this.#snapshots.get(snapshot)!
    if (what === 'backupSnapshot') await this.#backUp(snapshot, 'auto', content)
    if (what === 'deleteSnapshot') {
      await done(commands.deleteVolumeSnapshot(caller, snapshot, { confirm: null }))
      this.#snapshots.delete(snapshot)
    }
    if (what === 'restoreSnapshot') {
      await done(commands.restoreVolume(caller, this.#volume, snapshot, { skipSafetySnapshot: true, confirm: null }))
      this.#content = content
    }
  }

  /** Every backup is what its volume was; one of them, and the volume, also read as such. */
  async check(): Promise<void> {
    const { commands, caller, done, storage, vaults } = this.#cloud
    expect(storage.read(await this.#head())).toEqual(this.#content)
    for (const [backup, content] of this.backups) expect(vaults.contentOf(backup)).toEqual(content)
    const last = [...this.backups].at(-1)
    if (!last) return
    const request = { backup: last[0], name: null, description: null, sizeBytes: null, metadata: {} }
    const { volume } = await done(commands.createVolumeFromBackup(caller, request))
    expect(storage.read(await this.#head(volume))).toEqual(last[1])
  }

  async #backUp(snapshot: SnapshotId | null, read: 'auto' | 'full', content: Content): Promise<void> {
    const { commands, caller, done, db } = this.#cloud
    const request = { volume: this.#volume, name: null, description: null, metadata: {}, snapshot, force: true, read } as const
    const { backup } = await done(
      commands.createBackup({ ...caller, requestId: newId() }, { ...request, consistency: 'crash' }),
    )
    this.backups.set(backup, content)
    const row = await db.selectFrom('backups').select('base_backup_id').where('id', '=', backup).executeTakeFirstOrThrow()
    if (row.base_backup_id) this.incremental += 1
    const kept = await db.selectFrom('backups').select('id').where('snapshot_id', 'is not', null).execute()
    expect(kept.map(({ id }) => id)).toEqual([backup])
  }

  async #tidy(): Promise<void> {
    const { db, operations, storage } = this.#cloud
    await mergerWatcher({ db, operations, storage: () => storage }, 0).look(now)
    await this.#atRest()
    await collectorWatcher({ db, operations }, 0).look(now)
    await this.#atRest()
  }

  async #sweep(): Promise<void> {
    await sweeperWatcher({ ...this.#cloud, hostSilentSeconds: 3600, againAfterSeconds: 0 }, 0).look(now)
    await this.#atRest()
  }

  /** All rows of backups are lost, and read back. */
  async #recover(): Promise<void> {
    const { db, commands, caller, done } = this.#cloud
    await db.deleteFrom('backups').execute()
    const { id } = await db.selectFrom('vaults').select('id').executeTakeFirstOrThrow()
    await done(commands.recoverVault(caller, id))
    const rows = await db.selectFrom('backups').select('id').execute()
    expect(new Set(rows.map((row) => row.id))).toEqual(new Set(this.backups.keys()))
  }

  async #atRest(): Promise<void> {
    const states = operationStates.filter((state) => !(endedStates as readonly string[]).includes(state))
    for (const { id } of await this.#cloud.operations.list({ states, limit: 100 })) await this.#cloud.operations.ended(id)
  }

  async #head(volume = this.#volume) {
    const rows = this.#cloud.db.selectFrom('volumes').select('head_layer_id').where('id', '=', volume)
    return (await rows.executeTakeFirstOrThrow()).head_layer_id
  }
}

function pick<Id>(known: ReadonlyMap<Id, Content>, nth: number): Id | undefined {
  return [...known.keys()][nth % Math.max(1, known.size)]
}

test.each(['one', 'many'] as const)('with %s point(s) a layer', { timeout: 300_000 }, async (shape) => {
  const cloud = await makeCloud(shape)
  const place = { name: 'vault', directory: '/vault', bytesPerSecond: null, parallel: 8, isDefault: false }
  await cloud.commands.createVault(cloud.caller, place)
  let incremental = 0
  let backups = 0
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 40 }), async (steps) => {
      await cloud.db.deleteFrom('backups').execute()
      cloud.vaults.at('/vault').backups.clear()
      const source = { from: 'blank', sizeBytes: GiB } as const
      const made = { name: 'v', description: null, metadata: {}, source }
      const { volume } = await cloud.done(cloud.commands.createVolume(cloud.caller, made))
      const player = new Player(cloud, volume)
      for (const one of steps) await player.play(one)
      await player.check()
      incremental += player.incremental
      backups += player.backups.size
    }),
    { numRuns: 8, endOnFailure: true },
  )
  expect(backups).toBeGreaterThan(5)
  expect(incremental).toBeGreaterThan(3)
})
