/**
 * What may have changed between two points, told by the layers that only one of them has: on real files, after any history, no
 * block that differs is ever left out. The judge is a comparison byte by byte of what the layers' own headers lead to.
 */
import { execFile } from 'node:child_process'
import { constants } from 'node:fs'
import { type FileHandle, mkdtemp, open, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import fc from 'fast-check'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type ExportsEnvironment, servePoint } from '../../../src/agent/exports/exports.ts'
import { NbdSource } from '../../../src/agent/mover/nbd-blocks.ts'
import type { LayerId, PointId } from '../../../src/domain/ids.ts'
import { chainOf } from '../../../src/domain/layers.ts'
import type { Extent } from '../../../src/ports/blocks.ts'
import { ForestPlayer, kindsOfMove, type Move, play } from '../../support/forest-player.ts'
import { type Qcow2Pool, qcow2Pool, qemuIo } from '../../support/qcow2-pool.ts'
import { quietLog } from '../../support/quiet-log.ts'
import { blockBytes } from '../../support/storage-fixtures.ts'

const run = promisify(execFile)
const nobody = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : null

let directory: string
let pool: Qcow2Pool
let handle: FileHandle
let environment: ExportsEnvironment
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'comeback-changed-'))
  pool = await qcow2Pool()
  handle = await open(pool.directory, constants.O_DIRECTORY)
  environment = { runDirectory: directory, qemuUser: nobody, lowUser: nobody, log: quietLog(), patienceMs: 2_000 }
})
afterEach(async () => {
  await handle.close()
  await pool.close()
  await rm(directory, { recursive: true })
})

const chain = (player: ForestPlayer, point: PointId): readonly LayerId[] => {
  const layer = player.forest.points.find(({ id }) => id === point)?.layer
  if (layer === undefined) throw new Error(`point ${point} is lost`)
  return chainOf(player.forest, layer)
}

/** What the point reads as, found by way of the files' own headers. */
async function bytesOf(layers: readonly LayerId[]): Promise<Buffer> {
  const raw = join(directory, 'raw')
  await run('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', pool.driver.files.layer(layers.at(-1)!), raw])
  return readFile(raw)
}

type Told = { readonly changed: readonly Extent[]; readonly all: readonly Extent[]; readonly read: Buffer }

async function told(to: readonly LayerId[], from: readonly LayerId[], sizeBytes: number): Promise<Told> {
  const served = await servePoint(
    environment,
    { directory: pool.directory, handle },
    { chain: to },
    { chain: from },
    AbortSignal.timeout(60_000),
  )
  try {
    expect(served.whyNot).toBeNull()
    const source = await NbdSource.open({ socket: served.socket, sizeBytes, to: served.to, from: served.from })
    const [changed, all]: [Extent[], Extent[]] = [[], []]
    for await (const extent of source.changedExtents()!) changed.push(extent)
    for await (const extent of source.extents()) all.push(extent)
    const read = await source.read(0, sizeBytes)
    await source.close()
    return { changed, all, read }
  } finally {
    await served.end()
  }
}

const blocksOf = (extents: readonly Extent[]): Set<number> =>
  new Set(
    extents.flatMap(({ offset, length }) => {
      const first = Math.floor(offset / blockBytes)
      const end = Math.ceil((offset + length) / blockBytes)
      return Array.from({ length: end - first }, (_, at) => first + at)
    }),
  )

function differing(one: Buffer, other: Buffer): number[] {
  const blocks = Array.from({ length: Math.ceil(one.length / blockBytes) }, (_, block) => block)
  const part = (bytes: Buffer, block: number) => bytes.subarray(block * blockBytes, (block + 1) * blockBytes)
  return blocks.filter((block) => {
    const [mine, its] = [part(one, block), part(other, block)]
    return !mine.equals(Buffer.concat([its, Buffer.alloc(mine.length - its.length)]))
  })
}

/** Compares what is told with what is so, from one point to another and back. The changed blocks, and those that differ. */
async function compare(player: ForestPlayer, from: PointId, to: PointId): Promise<{ changed: number[]; differ: number[] }> {
  const [before, after] = [chain(player, from), chain(player, to)]
  const [was, is] = [await bytesOf(before), await bytesOf(after)]
  const { changed, all, read } = await told(after, before, is.length)
  expect(read.equals(is)).toBe(true)
  expect(all.reduce((end, { offset, length }) => (offset === end ? end + length : Number.NaN), 0)).toBe(is.length)
  for (const [at, { offset }] of changed.entries()) {
    const last = changed[at - 1]
    if (last) expect(offset).toBeGreaterThanOrEqual(last.offset + last.length)
  }
  for (const { offset, length } of [...changed, ...all].filter(({ kind }) => kind === 'zero'))
    expect(is.subarray(offset, offset + length).every((byte) => byte === 0)).toBe(true)
  const blocks = blocksOf(changed)
  const differ = differing(is, was)
  expect(differ.filter((block) => !blocks.has(block))).toEqual([])
  return { changed: [...blocks], differ }
}

const snapshotsOf = (player: ForestPlayer): PointId[] => player.snapshots.map(({ at }) => at)

/** Makes a volume of so many blocks with its first three written, and its first point. */
async function begun(
  blocks: number,
): Promise<{ player: ForestPlayer; volume: ForestPlayer['volumes'][number]; first: PointId }> {
  const player = new ForestPlayer(pool)
  await player.create(blocks)
  const volume = player.volumes[0]!
  for (const block of [0, 1, 2]) await player.write(volume, block, 10 + block)
  await player.snapshot(volume)
  return { player, volume, first: snapshotsOf(player)[0]! }
}

test('along one line, what was written, zeroed and discarded since is told, and nothing else', async () => {
  const { player, volume, first } = await begun(8)
  await player.write(volume, 1, 99)
  const path = pool.driver.files.layer(volume.head)
  await qemuIo(path, 'write -q -z 0 64k', 'discard -q 128k 64k', 'write -q -P 7 300k 4k')
  await player.snapshot(volume)
  await player.write(volume, 6, 5)
  await player.snapshot(volume)
  const [, second, third] = snapshotsOf(player)
  expect(await compare(player, first, second!)).toEqual({ changed: [0, 1, 2, 4], differ: [0, 1, 2, 4] })
  expect(await compare(player, second!, third!)).toEqual({ changed: [6], differ: [6] })
  expect(await compare(player, first, third!)).toEqual({ changed: [0, 1, 2, 4, 6], differ: [0, 1, 2, 4, 6] })
})

test('after a rollback both branches are told, down to where they part', async () => {
  const { player, volume, first } = await begun(8)
  await player.write(volume, 3, 30)
  await player.snapshot(volume)
  const second = snapshotsOf(player)[1]!
  await player.rollBack(volume, player.snapshots[0]!)
  await player.write(volume, 4, 40)
  await player.snapshot(volume)
  const third = snapshotsOf(player)[2]!
  expect(await compare(player, second, third)).toEqual({ changed: [3, 4], differ: [3, 4] })
  expect(await compare(player, first, third)).toEqual({ changed: [4], differ: [4] })
  player.deleteSnapshot(player.snapshots[0]!)
  await player.tidy()
  expect(await compare(player, second, third)).toEqual({ changed: [3, 4], differ: [3, 4] })
})

test('a volume that grew, or was larger, is told to its end', async () => {
  const { player, first } = await begun(4)
  await player.createFrom(player.snapshots[0]!, 3)
  const grown = player.volumes[1]!
  await player.write(grown, 5, 50)
  await player.snapshot(grown)
  const larger = snapshotsOf(player)[1]!
  const { changed, differ } = await compare(player, first, larger)
  expect(differ).toEqual([5])
  expect(changed).toEqual([4, 5, 6])
  // Back to the larger one in the small volume, whose head hides the tail, and then grown again over it.
  await player.rollBack(player.volumes[0]!, player.snapshots[1]!)
  await player.snapshot(player.volumes[0]!)
  const cut = snapshotsOf(player)[2]!
  await player.createFrom(player.snapshots[2]!, 3)
  await player.snapshot(player.volumes[2]!)
  const again = snapshotsOf(player)[3]!
  expect((await compare(player, larger, again)).differ).toEqual([5])
  expect((await compare(player, cut, larger)).differ).toEqual([5])
  expect((await compare(player, larger, cut)).differ).toEqual([])
})

test('a layer of the former point that is gone is said, and the rest is served', async () => {
  const { player, volume, first } = await begun(4)
  await player.snapshot(volume)
  const to = chain(player, snapshotsOf(player)[1]!)
  const gone = [...chain(player, first), '00000000-0000-4000-8000-000000000000' as LayerId]
  const served = await servePoint(
    environment,
    { directory: pool.directory, handle },
    { chain: to },
    { chain: gone },
    AbortSignal.timeout(60_000),
  )
  expect(served.from).toBeNull()
  expect(served.whyNot).toMatch(/cannot be opened/)
  const source = await NbdSource.open({ socket: served.socket, sizeBytes: 4 * blockBytes, to: served.to, from: null })
  expect(source.changedExtents()).toBeNull()
  await source.close()
  await served.end()
})

const roughly = ['write -q -P 77', 'write -q -z', 'write -q -z -u', 'discard -q'] as const
type Rough = { readonly how: (typeof roughly)[number]; readonly volume: number; readonly at: number; readonly length: number }
const moves: fc.Arbitrary<Move | Rough> = fc.oneof(
  {
    weight: 2,
    arbitrary: fc.record({ what: fc.constantFrom(...kindsOfMove), a: fc.nat(1000), b: fc.nat(1000), byte: fc.nat(255) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      how: fc.constantFrom(...roughly),
      volume: fc.nat(9),
      at: fc.nat(100),
      length: fc.integer({ min: 1, max: 40 }),
    }),
  },
)

/** Not in whole blocks: 4 KiB here and there, over the borders of clusters. */
async function rough(player: ForestPlayer, { how, volume, at, length }: Rough): Promise<void> {
  const found = player.volumes[volume % Math.max(1, player.volumes.length)]
  if (found === undefined) return
  const pages = found.sizeBlocks * 16
  const from = at % pages
  await qemuIo(pool.driver.files.layer(found.head), `${how} ${from * 4}k ${Math.min(length, pages - from) * 4}k`)
}

test('whatever was done in whatever order: every differing block between any two points is told', {
  timeout: 600_000,
}, async () => {
  let compared = 0
  let left = 0
  await fc.assert(
    fc.asyncProperty(fc.array(moves, { minLength: 25, maxLength: 40, size: 'max' }), fc.nat(1000), async (story, pick) => {
      const player = new ForestPlayer(pool)
      await player.create(6)
      for (const move of story) await ('how' in move ? rough(player, move) : play(player, move))
      const points = snapshotsOf(player)
      for (let turn = 0; turn < Math.min(4, points.length - 1); turn++) {
        const from = points[(pick + turn) % points.length]!
        const to = points[(pick + turn * 3 + 1) % points.length]!
        const { changed, differ } = await compare(player, from, to)
        compared++
        left += chain(player, to).length * 6 - changed.length
        expect(changed.length).toBeGreaterThanOrEqual(differ.length)
      }
    }),
    { numRuns: Number(process.env['RUNS'] ?? 12), endOnFailure: true },
  )
  expect(compared).toBeGreaterThan(0)
  expect(left).toBeGreaterThan(0)
})
