/** Plays the life of a volume and its backups against a vault, with crashes, and holds the vault to a model of it. */
import { randomBytes } from 'node:crypto'
import { expect } from 'vitest'
import { makeVault, openVault, type Vault } from '../../../src/adapters/vault/vault.ts'
import { type BackupId, newId, type ProjectId, type VaultId, type VolumeId } from '../../../src/domain/ids.ts'
import type { BackupRef } from '../../../src/ports/vault-mover.ts'
import type { VaultStore } from '../../../src/ports/vault-store.ts'
import { MemoryVaultStore } from '../memory-vault-store.ts'
import { BreakableStore, type Breaking, Died } from './breakable-store.ts'
import { type Disk, modelSource, modelTarget, sizeOf } from './model-disk.ts'
import { facts, measures } from './stage.ts'

export type Move =
  | { readonly move: 'write'; readonly blocks: readonly (readonly [number, number])[] }
  | { readonly move: 'clear'; readonly from: number; readonly count: number }
  | { readonly move: 'grow'; readonly by: number }
  | { readonly move: 'point' }
  | { readonly move: 'rollBack'; readonly to: number }
  | {
      readonly move: 'backup'
      readonly previous: 'last' | number | null
      readonly tellsChanges: boolean
      readonly breaking: Breaking | null
      readonly afterwards: 'retry' | 'discard' | 'leave'
    }
  | { readonly move: 'delete'; readonly which: number; readonly breaking: Breaking | null }
  | { readonly move: 'sweep'; readonly breaking: Breaking | null }
  | { readonly move: 'zombie'; readonly call: number; readonly isDiscarded: boolean; readonly sweeps: number }

/** `asked`: whether it is whole is not known, for whoever wrote it was not heard of again. */
type Kept = { readonly of: BackupRef; readonly content: Disk; state: 'asked' | 'whole' | 'deleted' }

export class VaultPlayer {
  readonly store = new MemoryVaultStore()
  readonly access = { vault: newId<VaultId>(), key: randomBytes(32).toString('base64'), bytesPerSecond: null, parallel: 3 }
  readonly volume = newId<VolumeId>()
  readonly project = newId<ProjectId>()
  readonly backups: Kept[] = []
  #disk: Disk
  readonly #points: Disk[] = []

  constructor(blockCount: number) {
    this.#disk = { blockCount, blocks: new Map() }
  }

  async begin(): Promise<void> {
    const { vault } = this.access
    await makeVault(this.store, this.access, { format: 1, vault, name: 'v', createdAt: facts.createdAt, slots: [] }, 'here')
  }

  async play(move: Move): Promise<void> {
    if (move.move === 'write')
      this.#change((blocks) => {
        for (const [at, value] of move.blocks) blocks.set(at, value)
      })
    else if (move.move === 'clear')
      this.#change((blocks) => {
        for (const block of [...blocks.keys()]) if (block >= move.from && block < move.from + move.count) blocks.delete(block)
      })
    else if (move.move === 'grow') this.#disk = { ...this.#disk, blockCount: this.#disk.blockCount + move.by }
    else if (move.move === 'point') this.#points.push(this.#disk)
    else if (move.move === 'rollBack') this.#rollBack(move.to)
    else if (move.move === 'backup') await this.#backUp(move)
    else if (move.move === 'delete') await this.#delete(move)
    else if (move.move === 'sweep') await this.#sweep(move.breaking)
    else await this.#zombie(move)
    await this.check()
  }

  vault(store: VaultStore = this.store): Promise<Vault> {
    return openVault(store, this.access, undefined, measures)
  }

  /** What is listed is known, and restores to what it was made of; what was said to be whole is listed. */
  async check(): Promise<void> {
    const vault = await this.vault()
    const listed = (await vault.listBackups()).map(({ backup }) => backup)
    const may = this.backups.filter(({ state }) => state !== 'deleted').map(({ of }) => of.backup)
    const must = this.backups.filter(({ state }) => state === 'whole').map(({ of }) => of.backup)
    expect(may).toEqual(expect.arrayContaining(listed))
    expect(listed).toEqual(expect.arrayContaining(must))
    for (const { of, content } of this.backups)
      if (listed.includes(of.backup)) {
        const target = modelTarget(content)
        await vault.restoreBackup({ of, rootHash: null }, target)
        expect(target.differences()).toEqual([])
      }
  }

  /** Everything is told how it ended; then enough sweeps. */
  async settle(): Promise<void> {
    const vault = await this.vault()
    for (const kept of this.backups.filter(({ state }) => state === 'asked')) {
      await vault.discardBackup(kept.of)
      kept.state = 'deleted'
    }
    for (let time = 0; time < 4; time++) await vault.sweepVolume(this.volume)
    await this.check()
    expect((await vault.verify(null)).damage).toEqual([])
  }

  #change(change: (blocks: Map<number, number>) => void): void {
    const blocks = new Map(this.#disk.blocks)
    change(blocks)
    for (const [block, value] of [...blocks]) if (value === 0 || block >= this.#disk.blockCount) blocks.delete(block)
    this.#disk = { ...this.#disk, blocks }
  }

  /** The volume keeps its size, as with a flip. */
  #rollBack(to: number): void {
    const point = this.#points[to % Math.max(1, this.#points.length)]
    if (point !== undefined) this.#disk = { ...point, blockCount: this.#disk.blockCount }
  }

  async #backUp({ previous, tellsChanges, breaking, afterwards }: Extract<Move, { move: 'backup' }>): Promise<void> {
    const whole = this.backups.filter(({ state }) => state === 'whole')
    const base =
      previous === null ? undefined : previous === 'last' ? whole.at(-1) : whole[previous % Math.max(1, whole.length)]
    const kept: Kept = { of: this.#newRef(), content: this.#disk, state: 'asked' }
    this.backups.push(kept)
    const write = async (store: VaultStore) => {
      const source = modelSource(kept.content, tellsChanges && base !== undefined ? base.content : null)
      const request = { of: kept.of, previous: base === undefined ? null : { backup: base.of.backup, whyNot: null }, facts }
      const outcome = await (await this.vault(store)).writeBackup(request, source)
      kept.state = 'whole'
      const isIncremental = tellsChanges && base !== undefined && sizeOf(base.content) <= sizeOf(kept.content)
      expect(outcome.base).toBe(isIncremental ? base.of.backup : null)
      expect(outcome.why === null).toBe(isIncremental)
    }
    if (await this.#survives(breaking, write)) return
    if (afterwards === 'retry') await write(this.store)
    if (afterwards === 'discard') {
      await (await this.vault()).discardBackup(kept.of)
      kept.state = 'deleted'
    }
  }

  async #delete({ which, breaking }: Extract<Move, { move: 'delete' }>): Promise<void> {
    const whole = this.backups.filter(({ state }) => state === 'whole')
    const kept = whole[which % Math.max(1, whole.length)]
    if (kept === undefined) return
    const remove = async (store: VaultStore) => (await this.vault(store)).deleteBackup(kept.of)
    if (!(await this.#survives(breaking, remove))) await remove(this.store)
    kept.state = 'deleted'
  }

  async #sweep(breaking: Breaking | null): Promise<void> {
    await this.#survives(breaking, async (store) => {
      try {
        await (await this.vault(store)).sweepVolume(this.volume)
      } catch (error) {
        const isBusy = error instanceof Error && 'code' in error && error.code === 'volumeBusy'
        if (!isBusy || !this.backups.some(({ state }) => state === 'asked')) throw error
      }
    })
  }

  /** A writer that stands still, is thought dead, and goes on when much has happened. */
  async #zombie({ call, isDiscarded, sweeps }: Extract<Move, { move: 'zombie' }>): Promise<void> {
    const base = this.backups.findLast(({ state }) => state === 'whole')
    const kept: Kept = { of: this.#newRef(), content: this.#disk, state: 'asked' }
    this.backups.push(kept)
    const store = new BreakableStore(this.store, { call, how: 'pause' })
    const request = { of: kept.of, previous: base === undefined ? null : { backup: base.of.backup, whyNot: null }, facts }
    const source = modelSource(kept.content, base?.content ?? null)
    const writing = this.vault(store).then((vault) => vault.writeBackup(request, source))
    const ended = writing.then(
      () => true,
      () => false,
    )
    await Promise.race([store.reached, ended])
    const vault = await this.vault()
    if (isDiscarded) await vault.discardBackup(kept.of)
    if (isDiscarded && base !== undefined) {
      await vault.deleteBackup(base.of)
      base.state = 'deleted'
    }
    for (let time = 0; time < sweeps; time++) await this.#sweep(null)
    await this.check()
    store.goOn()
    if (await ended) kept.state = (await vault.hasBackup(kept.of)) || !isDiscarded ? 'whole' : 'asked'
  }

  /** False: whoever did the work died of it. */
  async #survives(breaking: Breaking | null, work: (store: VaultStore) => Promise<void>): Promise<boolean> {
    try {
      await work(breaking === null ? this.store : new BreakableStore(this.store, breaking))
      return true
    } catch (error) {
      if (breaking !== null && error instanceof Died) return false
      throw error
    }
  }

  #newRef(): BackupRef {
    return { volume: this.volume, project: this.project, backup: newId<BackupId>() }
  }
}
