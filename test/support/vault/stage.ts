/** A vault in memory with backups of a small volume, for tests that break one call after another. */
import { randomBytes } from 'node:crypto'
import { expect } from 'vitest'
import type { Measures } from '../../../src/adapters/vault/format/shape.ts'
import { makeVault, openVault, type Vault } from '../../../src/adapters/vault/vault.ts'
import { type BackupId, newId, type ProjectId, type VaultId, type VolumeId } from '../../../src/domain/ids.ts'
import type { BackupFacts, BackupOutcome, BackupRef } from '../../../src/ports/vault-mover.ts'
import type { VaultStore } from '../../../src/ports/vault-store.ts'
import { MemoryVaultStore } from '../memory-vault-store.ts'
import { type Disk, modelSource, modelTarget } from './model-disk.ts'

export const facts: BackupFacts = {
  name: 'nightly',
  description: null,
  createdAt: '2026-11-22T00:00:00Z',
  volumeName: 'data',
  projectName: 'demo',
  bootable: false,
  metadata: {},
  imageMetadata: null,
  consistency: 'crash',
  instance: null,
}

/** Small, so that little data makes many packs and index objects. */
export const measures: Measures = { packBytes: 300_000, indexEntries: 7, mostIndexes: 3 }

export class VaultStage {
  readonly store = new MemoryVaultStore()
  readonly access = { vault: newId<VaultId>(), key: randomBytes(32).toString('base64'), bytesPerSecond: null, parallel: 3 }
  readonly volume = newId<VolumeId>()
  readonly project = newId<ProjectId>()
  readonly contents = new Map<BackupId, Disk>()

  static async make(): Promise<VaultStage> {
    const stage = new VaultStage()
    const { vault } = stage.access
    await makeVault(stage.store, stage.access, { format: 1, vault, name: 'v', createdAt: facts.createdAt, slots: [] }, 'here')
    return stage
  }

  /** As it is now, to be changed by itself. */
  copy(): VaultStage {
    const copy = Object.assign(Object.create(VaultStage.prototype) as VaultStage, this, {
      store: new MemoryVaultStore(),
      contents: new Map(this.contents),
    })
    for (const [name, bytes] of this.store.objects) copy.store.objects.set(name, Buffer.from(bytes))
    return copy
  }

  vault(store: VaultStore = this.store): Promise<Vault> {
    return openVault(store, this.access, undefined, measures)
  }

  newRef(): BackupRef {
    return { volume: this.volume, project: this.project, backup: newId<BackupId>() }
  }

  async write(
    of: BackupRef,
    content: Disk,
    previous: BackupRef | null,
    store: VaultStore = this.store,
  ): Promise<BackupOutcome> {
    this.contents.set(of.backup, content)
    const before = previous === null ? null : (this.contents.get(previous.backup) ?? null)
    const request = { of, previous: previous === null ? null : { backup: previous.backup, whyNot: null }, facts }
    return (await this.vault(store)).writeBackup(request, modelSource(content, before))
  }

  async listed(): Promise<readonly BackupId[]> {
    return (await (await this.vault()).listBackups()).map(({ backup }) => backup)
  }

  /** Everything that is listed comes back as it was. */
  async proveListed(): Promise<void> {
    for (const backup of await this.listed()) expect(await this.differences(backup), backup).toEqual([])
  }

  async differences(backup: BackupId): Promise<readonly string[]> {
    const content = this.contents.get(backup)
    if (content === undefined) throw new Error('a backup that nobody wrote')
    const target = modelTarget(content)
    const of = { volume: this.volume, project: this.project, backup }
    await (await this.vault()).restoreBackup({ of, rootHash: null }, target)
    return target.differences()
  }

  /** How many sweeps until nothing goes and nothing is marked any more. */
  async sweepUntilClean(): Promise<number> {
    const vault = await this.vault()
    for (let sweeps = 1; sweeps < 9; sweeps++) {
      const { removedObjects, markedObjects } = await vault.sweepVolume(this.volume)
      if (removedObjects === 0 && markedObjects === 0) return sweeps
    }
    throw new Error('sweeps never end')
  }

  namesOf(writer: string): readonly string[] {
    return [...this.store.objects.keys()].filter((name) => name.includes(writer))
  }
}

/** Blocks `from` up to `from + count` hold the value and those after it. */
export function disk(
  blockCount: number,
  ...stretches: readonly (readonly [from: number, count: number, value: number])[]
): Disk {
  const blocks = new Map<number, number>()
  for (const [from, count, value] of stretches)
    for (let at = 0; at < count; at++) blocks.set(from + at, value === 0 ? 0 : value + at)
  for (const [block, value] of blocks) if (value === 0) blocks.delete(block)
  return { blockCount, blocks }
}
