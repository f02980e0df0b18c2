/** Backups written, listed, restored: on a store in memory, in the thread that asks. */
import { randomBytes } from 'node:crypto'
import { beforeEach, describe, expect, test } from 'vitest'
import { memorySource, memoryTarget } from '../../../test/support/memory-disk.ts'
import { MemoryVaultStore } from '../../../test/support/memory-vault-store.ts'
import { facts } from '../../../test/support/vault/stage.ts'
import { type BackupId, newId, type ProjectId, type VaultId, type VolumeId } from '../../domain/ids.ts'
import type { BackupRef } from '../../ports/vault-mover.ts'
import { makeVault, openVault, type Vault } from './vault.ts'

const block = 65_536
let store: MemoryVaultStore
let vault: Vault
const volume = newId<VolumeId>()
const project = newId<ProjectId>()
const aBackup = (): BackupRef => ({ volume, project, backup: newId<BackupId>() })

beforeEach(async () => {
  store = new MemoryVaultStore()
  const access = { vault: newId<VaultId>(), key: randomBytes(32).toString('base64'), bytesPerSecond: null, parallel: 8 }
  await makeVault(store, access, { format: 1, vault: access.vault, name: 'v', createdAt: facts.createdAt, slots: [] }, 'here')
  vault = await openVault(store, access)
})

/** Data here and there: two blocks are the same, one is compressible. */
function someDisk(blocks: number, odd = 0): Buffer {
  const disk = Buffer.alloc(blocks * block - odd)
  for (let number = 0; number < blocks; number += 1 + (number % 3)) randomBytes(block).copy(disk, number * block)
  disk.copy(disk, 5 * block, 0, block)
  disk.fill('the same ', 7 * block, 8 * block)
  return disk
}

const restored = async (of: BackupRef, bytes: number): Promise<Buffer> => {
  const target = memoryTarget(bytes)
  await vault.restoreBackup({ of, rootHash: null }, target)
  return target.content
}

describe('a full backup', () => {
  test.each([
    ['of one block', 1, 0],
    ['that ends within a block', 20, 512],
    ['of several leaf pages', 300, 0],
  ])('%s comes back', async (_, blocks, odd) => {
    const disk = someDisk(Math.max(blocks, 9), odd).subarray(0, blocks * block - odd)
    const of = aBackup()
    const outcome = await vault.writeBackup({ of, previous: null, facts }, memorySource(disk))
    expect(outcome).toMatchObject({ sizeBytes: disk.length, base: null, why: "it is the volume's first backup in this vault" })
    expect((await restored(of, disk.length)).equals(disk)).toBe(true)
    expect(await vault.listBackups()).toMatchObject([{ ...of, rootHash: outcome.rootHash, sizeBytes: disk.length, facts }])
  })
})

test('an incremental backup reads what changed, stores what is new, and stands by itself', async () => {
  const before = someDisk(400)
  const first = aBackup()
  await vault.writeBackup({ of: first, previous: null, facts }, memorySource(before))
  const after = Buffer.from(before)
  randomBytes(4096).copy(after, 130 * block + 4096)
  after.fill(0, 200 * block, 340 * block)
  const second = aBackup()
  const source = memorySource(after, before)
  const outcome = await vault.writeBackup({ of: second, previous: { backup: first.backup, whyNot: null }, facts }, source)
  expect(outcome).toMatchObject({ base: first.backup, why: null, readBytes: block })
  expect(source.reads).toEqual([[130 * block, block]])
  expect(outcome.storedBytes).toBeLessThan(90_000)
  expect((await restored(second, after.length)).equals(after)).toBe(true)
  await vault.deleteBackup(first)
  expect((await restored(second, after.length)).equals(after)).toBe(true)
})

test('a volume that has grown shares with its former self', async () => {
  const before = someDisk(100)
  const first = aBackup()
  await vault.writeBackup({ of: first, previous: null, facts }, memorySource(before))
  for (const blocks of [120, 129, 400]) {
    const after = Buffer.concat([before, someDisk(blocks - 100)])
    const of = aBackup()
    const outcome = await vault.writeBackup(
      { of, previous: { backup: first.backup, whyNot: null }, facts },
      memorySource(after, before),
    )
    expect(outcome.base).toBe(first.backup)
    expect((await restored(of, after.length)).equals(after)).toBe(true)
  }
})
