/**
 * Random lives of volumes with their backups: writes, snapshots, rollbacks across branches, deletions, merges, backups upon any
 * backup before, restores and sweeps, in any order, on storage of both shapes. Whatever is listed restores to what it was made of.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { MemoryDriver } from '../../src/adapters/storage/memory/driver.ts'
import { type LayerId, newId, type PointId } from '../../src/domain/ids.ts'
import { chainOf } from '../../src/domain/layers.ts'
import type { BackupRef, SourcePoint, VaultAccess, WriteBackup } from '../../src/ports/vault-mover.ts'
import { backupFacts, identityOf, vaultAt } from '../support/agent-vault.ts'
import { ForestPlayer, kindsOfMove, type Move, play } from '../support/forest-player.ts'
import { MemoryMoverOfVaults } from '../support/memory-mover.ts'
import { memoryPool } from '../support/memory-pool.ts'
import { blockBytes, type Content, makeLayer } from '../support/storage-fixtures.ts'

type Kept = {
  readonly of: BackupRef
  readonly content: Content
  readonly sizeBytes: number
  readonly at: PointId
  rootHash: string
}

const kindsOfBackupMove = ['backup', 'backup', 'backup', 'deleteBackup', 'sweep', 'restore'] as const
type BackupMove = { readonly backup: (typeof kindsOfBackupMove)[number]; readonly a: number; readonly b: number }

const moves: fc.Arbitrary<Move | BackupMove> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ what: fc.constantFrom(...kindsOfMove), a: fc.nat(1000), b: fc.nat(1000), byte: fc.nat(255) }),
  },
  { weight: 1, arbitrary: fc.record({ backup: fc.constantFrom(...kindsOfBackupMove), a: fc.nat(1000), b: fc.nat(1000) }) },
)

const choose = <T>(from: readonly T[], number: number): T | undefined => from[number % Math.max(1, from.length)]

class Life {
  readonly player: ForestPlayer
  readonly driver: MemoryDriver
  readonly mover: MemoryMoverOfVaults
  readonly access: VaultAccess = vaultAt('/vault')
  /** All backups are one volume's, as if every line of the forest had been it at some time. */
  readonly #volume = { volume: newId(), project: newId() } as Pick<BackupRef, 'volume' | 'project'>
  readonly kept: Kept[] = []

  constructor(shape: 'one' | 'many') {
    const pool = memoryPool(shape)
    this.player = new ForestPlayer(pool)
    this.driver = pool.driver as MemoryDriver
    this.mover = new MemoryMoverOfVaults(new Map([[pool.driver.pool, this.driver]]))
  }

  async begin(): Promise<void> {
    await this.mover.makeVault(this.access, identityOf(this.access))
    await this.player.create(6)
  }

  async play({ backup: what, a, b }: BackupMove): Promise<void> {
    if (what === 'backup') await this.#backUp(a, b)
    else if (what === 'sweep') await this.mover.sweepVolume(this.access, this.#volume.volume)
    else if (what === 'restore') await this.#restore(choose(this.kept, a))
    else if (this.kept.length > 0) {
      const [gone] = this.kept.splice(a % this.kept.length, 1)
      if (gone) await this.mover.deleteBackup(this.access, gone.of)
    }
  }

  /** Everything listed is kept, and everything kept is listed and restores. */
  async check(): Promise<void> {
    const listed = (await this.mover.listBackups(this.access)).map(({ backup }) => backup)
    expect([...listed].sort()).toEqual(this.kept.map(({ of }) => of.backup).sort())
    for (const kept of this.kept) await this.#restore(kept)
    expect((await this.mover.verify(this.access, null)).damage).toEqual([])
  }

  async #backUp(a: number, b: number): Promise<void> {
    const snapshot = choose(this.player.snapshots, a)
    if (snapshot === undefined) return
    const of: BackupRef = { ...this.#volume, backup: newId() }
    const before = b % 4 === 0 ? undefined : choose(this.kept, b)
    const source = this.#pointOf(snapshot.at, snapshot.sizeBlocks * blockBytes)
    if (source === null) throw new Error('a wanted point is lost')
    const previous: WriteBackup['previous'] = before
      ? { backup: before.of.backup, point: this.#wanted(before), whyNot: 'its point is gone' }
      : null
    const request = { of, source, previous, facts: backupFacts }
    const { rootHash, base } = await this.mover.writeBackup(this.access, request)
    if (base !== null) expect(base).toBe(before?.of.backup)
    const same = this.kept.filter((one) => one.sizeBytes === source.sizeBytes)
    for (const one of same)
      expect(one.rootHash === rootHash).toBe(JSON.stringify(one.content) === JSON.stringify(snapshot.content))
    this.kept.push({ of, content: snapshot.content, sizeBytes: source.sizeBytes, at: snapshot.at, rootHash })
  }

  /** Nobody merges what a snapshot still wants. */
  #wanted({ at, sizeBytes }: Kept): SourcePoint | null {
    return this.player.snapshots.some((snapshot) => snapshot.at === at) ? this.#pointOf(at, sizeBytes) : null
  }

  #pointOf(at: PointId, sizeBytes: number): SourcePoint | null {
    const point = this.player.forest.points.find(({ id }) => id === at)
    if (point === undefined) return null
    const chain = chainOf(this.player.forest, point.layer)
    return { pool: this.driver.pool, point: { layer: point.layer, point: at }, chain, sizeBytes }
  }

  async #restore(kept: Kept | undefined): Promise<void> {
    if (kept === undefined) return
    const layer: LayerId = await makeLayer(this.player.pool, null, kept.sizeBytes)
    const target = { pool: this.driver.pool, layer, sizeBytes: kept.sizeBytes }
    await this.mover.restoreBackup(this.access, { of: kept.of, rootHash: kept.rootHash, target })
    expect(this.driver.read(layer)).toEqual(kept.content)
    await this.driver.remove(layer)
  }
}

describe.each(['one', 'many'] as const)('with %s point(s) a layer', (shape) => {
  test('every listed backup restores to the content of the point that it was made of', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(moves, { maxLength: 60, size: 'max' }), async (story) => {
        const life = new Life(shape)
        await life.begin()
        for (const move of story) await ('backup' in move ? life.play(move) : play(life.player, move))
        await life.check()
        for (let time = 0; time < 3; time++) await life.play({ backup: 'sweep', a: 0, b: 0 })
        await life.check()
      }),
      { numRuns: Number(process.env['RUNS'] ?? 40) },
    )
  })
})
