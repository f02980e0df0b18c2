/** Whoever writes, deletes or sweeps dies at one call to the store after another, or stands still there while much happens. */
import { beforeAll, describe, expect, test } from 'vitest'
import type { BackupRef } from '../../src/ports/vault-mover.ts'
import type { VaultStore } from '../../src/ports/vault-store.ts'
import { BreakableStore, type Breaking } from '../support/vault/breakable-store.ts'
import type { Disk } from '../support/vault/model-disk.ts'
import { disk, VaultStage } from '../support/vault/stage.ts'

const before = disk(300, [0, 12, 1], [140, 6, 20], [299, 1, 40])
const after = disk(300, [0, 12, 1], [3, 2, 50], [130, 6, 60], [140, 6, 0], [299, 1, 40])

/** A vault with one backup that is deleted, and one that shares with it. */
let stage: VaultStage
let base: BackupRef
beforeAll(async () => {
  stage = await VaultStage.make()
  const first = stage.newRef()
  await stage.write(first, disk(300, [0, 12, 1], [140, 2, 90]), null)
  base = stage.newRef()
  await stage.write(base, before, first)
  await (await stage.vault()).deleteBackup(first)
})

/** How many calls to the store the work makes. */
async function callsOf(work: (its: VaultStage, store: VaultStore) => Promise<unknown>): Promise<number> {
  const its = stage.copy()
  const store = new BreakableStore(its.store, { call: Number.MAX_SAFE_INTEGER, how: 'before' })
  await work(its, store)
  expect(store.calls).toBeGreaterThan(3)
  return store.calls
}

/** Every death at every call: what is left is looked at. */
async function everyDeath(
  work: (its: VaultStage, store: VaultStore) => Promise<unknown>,
  look: (its: VaultStage, breaking: Breaking) => Promise<void>,
): Promise<void> {
  const calls = await callsOf(work)
  for (let call = 1; call <= calls; call++)
    for (const how of ['before', 'after'] as const) {
      const its = stage.copy()
      const store = new BreakableStore(its.store, { call, how })
      await work(its, store).catch(() => undefined)
      await look(its, { call, how })
    }
}

describe('a backup whose writer dies at any call', () => {
  const writing = (of: BackupRef) => (its: VaultStage, store: VaultStore) => its.write(of, after, base, store)

  test('is not listed, or whole; written again it is whole, and swept like any other', async () => {
    const of = stage.newRef()
    await everyDeath(writing(of), async (its) => {
      await its.proveListed()
      const outcome = await its.write(of, after, base)
      expect(outcome).toMatchObject({ base: base.backup, why: null })
      expect(await its.listed()).toEqual(expect.arrayContaining([of.backup, base.backup]))
      await (await its.vault()).deleteBackup(base)
      await its.sweepUntilClean()
      expect(await its.listed()).toEqual([of.backup])
      await its.proveListed()
    })
  })

  test('discarded it leaves nothing, at once, also when whoever discards dies', async () => {
    const of = stage.newRef()
    await everyDeath(writing(of), async (its) => {
      const calls = new BreakableStore(its.copy().store, { call: Number.MAX_SAFE_INTEGER, how: 'before' })
      await (await its.vault(calls)).discardBackup(of)
      for (let call = 1; call <= calls.calls; call += 3) {
        const dying = its.copy()
        const store = new BreakableStore(dying.store, { call, how: 'after' })
        await dying
          .vault(store)
          .then((vault) => vault.discardBackup(of))
          .catch(() => undefined)
        await dying.proveListed()
        await (await dying.vault()).discardBackup(of)
        expect(await dying.listed()).toEqual([base.backup])
      }
      await (await its.vault()).discardBackup(of)
      expect(its.namesOf(of.backup)).toEqual([])
      await its.proveListed()
    })
  })

  test('and a sweep waits until it is told how that ended', async () => {
    const of = stage.newRef()
    await everyDeath(writing(of), async (its) => {
      const hasMarker = [...its.store.objects.keys()].some((name) => name.includes('/running/'))
      const isWhole = (await its.listed()).includes(of.backup)
      const sweep = (await its.vault()).sweepVolume(its.volume)
      if (hasMarker && !isWhole) await expect(sweep).rejects.toMatchObject({ code: 'volumeBusy' })
      else await sweep
      await (await its.vault()).discardBackup(of)
      await its.sweepUntilClean()
      await its.proveListed()
    })
  })
})

describe('a backup whose writer stands still at any call', () => {
  type Ended = { readonly wasListed: boolean; readonly isWhole: boolean; readonly its: VaultStage }

  /** The writer reaches the call, others do something, and the writer goes on. */
  async function everyPause(
    how: 'pause' | 'pauseThenDie',
    of: BackupRef,
    content: Disk,
    meanwhile: (its: VaultStage) => Promise<void>,
    look: (ended: Ended) => Promise<void>,
  ): Promise<void> {
    const calls = await callsOf((its, store) => its.write(of, content, base, store))
    for (let call = 1; call <= calls; call++) {
      const its = stage.copy()
      const store = new BreakableStore(its.store, { call, how })
      const writing = its.write(of, content, base, store).then(
        () => true,
        () => false,
      )
      await store.reached
      const wasListed = (await its.listed()).includes(of.backup)
      await meanwhile(its)
      store.goOn()
      await look({ wasListed, isWhole: await writing, its })
    }
  }

  test('ends well, for sweeps do not begin beside it', async () => {
    const of = stage.newRef()
    const sweepTwice = async (its: VaultStage) => {
      const vault = await its.vault()
      for (let time = 0; time < 2; time++) await vault.sweepVolume(its.volume).catch(() => undefined)
    }
    await everyPause('pause', of, after, sweepTwice, async ({ isWhole, its }) => {
      expect(isWhole).toBe(true)
      expect(await its.listed()).toEqual([base.backup, of.backup])
      await its.proveListed()
    })
  })

  describe.each([0, 1, 2, 3])('and is discarded, its lender deleted and swept %i times', (sweeps) => {
    const thoughtDead = (of: BackupRef) => async (its: VaultStage) => {
      const vault = await its.vault()
      await vault.discardBackup(of)
      await vault.deleteBackup(base)
      for (let time = 0; time < sweeps; time++) await vault.sweepVolume(its.volume)
    }

    test.each([
      ['pause', 'changed', after],
      ['pauseThenDie', 'changed', after],
      ['pause', 'the same', before],
    ] as const)('is not listed unless it is whole (%s, content %s)', async (how, _, content) => {
      const of = stage.newRef()
      await everyPause(how, of, content, thoughtDead(of), async ({ wasListed, isWhole, its }) => {
        if (isWhole && !wasListed) expect(await its.listed()).toEqual([of.backup])
        if (!isWhole && how === 'pause') expect(await its.listed()).toEqual([])
        await its.proveListed()
        await (await its.vault()).discardBackup(of)
        await its.sweepUntilClean()
        expect(await its.listed()).toEqual([])
        expect(its.namesOf('.pack')).toEqual([])
        expect(its.namesOf('.index')).toEqual([])
      })
    })
  })
})

test('a sweep that dies at any call has removed nothing that is needed, and the next ones finish', async () => {
  for (const sweepsBefore of [0, 1]) {
    const vault = await stage.vault()
    for (let time = 0; time < sweepsBefore; time++) await vault.sweepVolume(stage.volume)
    await everyDeath(
      async (its, store) => (await its.vault(store)).sweepVolume(its.volume),
      async (its) => {
        await its.proveListed()
        await its.sweepUntilClean()
        await its.proveListed()
        expect((await (await its.vault()).verify(null)).damage).toEqual([])
      },
    )
  }
})

test('what is not needed goes at the second mark; what is needed by whoever shared it stays', async () => {
  const its = await VaultStage.make()
  const vault = await its.vault()
  const [one, two, three] = [its.newRef(), its.newRef(), its.newRef()]
  await its.write(one, before, null)
  await its.write(two, after, one)
  await its.write(three, disk(300, [0, 12, 1]), two)
  expect(await vault.sweepVolume(its.volume)).toEqual({ removedObjects: 0, removedBytes: 0, markedObjects: expect.any(Number) })
  await its.sweepUntilClean()
  await vault.deleteBackup(one)
  const packs = its.namesOf('.pack').length
  const first = await vault.sweepVolume(its.volume)
  expect(first).toMatchObject({ removedObjects: 0 })
  expect(first.markedObjects).toBeGreaterThan(0)
  expect(its.namesOf('.pack').length).toBe(packs)
  const second = await vault.sweepVolume(its.volume)
  expect(second.removedObjects).toBeGreaterThanOrEqual(first.markedObjects)
  expect(second.removedBytes).toBeGreaterThan(0)
  expect(its.namesOf('.pack').length).toBeLessThan(packs)
  await its.proveListed()
  await vault.deleteBackup(two)
  await its.sweepUntilClean()
  await its.proveListed()
  await vault.deleteBackup(three)
  await its.sweepUntilClean()
  expect([...its.store.objects.keys()].sort()).toEqual(['vault.json', `volumes/${its.volume}/sweep`])
})

test('discarding a whole backup keeps what another one shares with it', async () => {
  const its = stage.copy()
  const of = its.newRef()
  await its.write(of, after, base)
  await (await its.vault()).discardBackup(base)
  expect(await its.listed()).toEqual([of.backup])
  await its.sweepUntilClean()
  await its.proveListed()
})
