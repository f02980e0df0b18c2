/** Random lives of a volume and its vault: writes, points, rollbacks, backups, deletions and sweeps, in any order, with crashes. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { VaultKeyring } from '../../src/adapters/vault/format/keys.ts'
import { openPack } from '../../src/adapters/vault/format/pack.ts'
import { childOf, fanOut, isZeroId } from '../../src/adapters/vault/format/shape.ts'
import { Locator, openIndexes } from '../../src/adapters/vault/index/locator.ts'
import { manifestsOf } from '../../src/adapters/vault/list.ts'
import { treeOf } from '../../src/adapters/vault/pages.ts'
import { type Manifest, VolumeVault } from '../../src/adapters/vault/volume.ts'
import type { Breaking } from '../support/vault/breakable-store.ts'
import { type Move, VaultPlayer } from '../support/vault/player.ts'

const block = fc.oneof(fc.nat(40), fc.nat(300), fc.constantFrom(127, 128, 16_383, 16_384, 20_000))
const calls = fc.nat(45).map((call) => call + 1)
const breaking = (often: number): fc.Arbitrary<Breaking | null> =>
  fc.option(fc.record({ call: calls, how: fc.constantFrom('before' as const, 'after' as const) }), { freq: often, nil: null })

const move: fc.Arbitrary<Move> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      move: fc.constant('write' as const),
      blocks: fc.array(fc.tuple(block, fc.nat(60)), { minLength: 1, maxLength: 25 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ move: fc.constant('clear' as const), from: block, count: fc.constantFrom(1, 5, 128, 20_000) }),
  },
  { weight: 1, arbitrary: fc.record({ move: fc.constant('grow' as const), by: fc.constantFrom(1, 100, 17_000) }) },
  { weight: 2, arbitrary: fc.record({ move: fc.constant('point' as const) }) },
  { weight: 2, arbitrary: fc.record({ move: fc.constant('rollBack' as const), to: fc.nat(9) }) },
  {
    weight: 6,
    arbitrary: fc.record({
      move: fc.constant('backup' as const),
      previous: fc.oneof(
        { weight: 4, arbitrary: fc.constant('last' as const) },
        { weight: 1, arbitrary: fc.nat(5) },
        { weight: 1, arbitrary: fc.constant(null) },
      ),
      tellsChanges: fc.boolean(),
      breaking: breaking(2),
      afterwards: fc.constantFrom('retry' as const, 'discard' as const, 'leave' as const),
    }),
  },
  { weight: 2, arbitrary: fc.record({ move: fc.constant('delete' as const), which: fc.nat(9), breaking: breaking(4) }) },
  { weight: 3, arbitrary: fc.record({ move: fc.constant('sweep' as const), breaking: breaking(2) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      move: fc.constant('zombie' as const),
      call: calls,
      isDiscarded: fc.boolean(),
      sweeps: fc.nat(3),
    }),
  },
)

test('every listed backup restores byte for byte, and what nobody needs goes', { timeout: 600_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(1, 100, 300, 17_000),
      fc.array(move, { minLength: 3, maxLength: 25 }),
      async (blocks, moves) => {
        const player = new VaultPlayer(blocks)
        await player.begin()
        for (const each of moves) await player.play(each)
        await player.settle()
        await onlyWhatIsNeeded(player)
      },
    ),
    {
      numRuns: Number(process.env['COMEBACK_RUNS'] ?? 60),
      // The same lives in every run, unless others are asked for.
      seed: Number(process.env['COMEBACK_SEED'] ?? 1),
    },
  )
})

async function onlyWhatIsNeeded({ store, access, volume }: VaultPlayer): Promise<void> {
  const keys = new VaultKeyring(Buffer.from(access.key, 'base64'))
  const its = new VolumeVault(store, keys, volume)
  const { manifests } = await manifestsOf(its)
  const packs = await its.namesUnder(its.names.packs)
  const needed = await idsNeeded(its, manifests)
  const { objects } = await openIndexes(store, keys, its.names)
  expect(objects.length).toBeLessThanOrEqual(3)
  expect(await its.namesUnder(its.names.indexes)).toHaveLength(objects.length)
  expect(await its.markers()).toEqual([])
  for (const name of packs)
    expect((await openPack(store, name, keys))?.entries.some(({ id }) => needed.has(id.toString('hex')))).toBe(true)
}

async function idsNeeded(volume: VolumeVault, manifests: readonly Manifest[]): Promise<ReadonlySet<string>> {
  const locator = new Locator(volume.store, volume.keys, volume.names)
  const ids = new Set<string>()
  for (const manifest of manifests) {
    const tree = treeOf(volume, locator, manifest)
    const take = async (id: Buffer, level: number, position: number): Promise<void> => {
      if (isZeroId(id)) return
      ids.add(id.toString('hex'))
      if (level === 0) return
      const page = await tree.pageAt(level, position)
      for (let index = 0; index < fanOut; index++) await take(childOf(page, index), level - 1, position * fanOut + index)
    }
    await take(tree.root, tree.depth, 0)
  }
  return ids
}
