/**
 * Plays users upon a pool: volumes, snapshots, rollbacks, deletions in any order, and the tidying that the forest's pure
 * functions decide. Beside the pool it keeps what every volume and snapshot must hold, as plain maps.
 */
import type { Bytes, LayerId, PointId } from '../../src/domain/ids.ts'
import {
  afterLayerRemoved,
  afterMark,
  afterMerge,
  afterNewLayer,
  afterPointRemoved,
  afterRelease,
  afterUnwanted,
} from '../../src/domain/layer-changes.ts'
import { removableLayers, removablePoints } from '../../src/domain/layer-garbage.ts'
import { planMerges } from '../../src/domain/layer-merges.ts'
import { emptyForest, type Forest, indexOf } from '../../src/domain/layers.ts'
import type { PointRef } from '../../src/ports/storage-driver.ts'
import { blockBytes, type Content, makeLayer, markPoint, recordOf, type TestPool } from './storage-fixtures.ts'

type Volume = { head: LayerId; sizeBlocks: number; content: Content }
type Snapshot = { at: PointId; sizeBlocks: number; content: Content }

const cut = (content: Content, blocks: number): Content =>
  Object.fromEntries(Object.entries(content).filter(([block]) => Number(block) < blocks))

export class ForestPlayer {
  readonly pool: TestPool
  readonly volumes: Volume[] = []
  readonly snapshots: Snapshot[] = []
  forest: Forest = emptyForest
  readonly #shape: 'one' | 'many'

  constructor(pool: TestPool) {
    this.pool = pool
    this.#shape = pool.driver.abilities.pointsPerLayer
  }

  async create(sizeBlocks: number): Promise<void> {
    this.volumes.push({ head: await this.#grow(null, sizeBlocks), sizeBlocks, content: {} })
  }

  async createFrom(snapshot: Snapshot, moreBlocks: number): Promise<void> {
    const sizeBlocks = snapshot.sizeBlocks + moreBlocks
    this.volumes.push({ head: await this.#grow(this.#refOf(snapshot), sizeBlocks), sizeBlocks, content: snapshot.content })
  }

  async write(volume: Volume, block: number, byte: number): Promise<void> {
    const at = block % volume.sizeBlocks
    await this.pool.write(volume.head, at, byte)
    const { [at]: _before, ...others } = volume.content
    volume.content = byte === 0 ? others : { ...others, [at]: byte }
  }

  async snapshot(volume: Volume): Promise<void> {
    const point = await markPoint(this.pool, volume.head)
    this.forest = afterMark(this.forest, { id: point.point, layer: point.layer }, this.#shape)
    this.snapshots.push({ at: point.point, sizeBlocks: volume.sizeBlocks, content: volume.content })
    if (this.#shape === 'one') volume.head = await this.#grow(point, volume.sizeBlocks)
  }

  /** In place: a new head from the point, the old one let go. The volume keeps its size, so a larger snapshot is cut. */
  async rollBack(volume: Volume, snapshot: Snapshot): Promise<void> {
    const next = await this.#grow(this.#refOf(snapshot), volume.sizeBlocks)
    this.forest = afterRelease(this.forest, volume.head)
    volume.head = next
    volume.content = cut(snapshot.content, volume.sizeBlocks)
  }

  deleteSnapshot(snapshot: Snapshot): void {
    this.snapshots.splice(this.snapshots.indexOf(snapshot), 1)
    this.forest = afterUnwanted(this.forest, snapshot.at)
  }

  deleteVolume(volume: Volume): void {
    this.volumes.splice(this.volumes.indexOf(volume), 1)
    this.forest = afterRelease(this.forest, volume.head)
  }

  /** One thing that the forest says may be done; false when there is nothing left. */
  async tidyOnce(pick: number): Promise<boolean> {
    const { driver } = this.pool
    const layer = removableLayers(this.forest)[0]
    if (layer !== undefined) {
      await driver.remove(layer)
      this.forest = afterLayerRemoved(this.forest, layer)
      return true
    }
    const point = this.#shape === 'many' ? removablePoints(this.forest)[0] : undefined
    const holder = this.forest.points.find(({ id }) => id === point)?.layer
    if (point !== undefined && holder !== undefined) {
      await driver.unmark(holder, point, recordOf(driver.pool, holder))
      this.forest = afterPointRemoved(this.forest, point)
      return true
    }
    return this.#mergeOne(pick)
  }

  async tidy(pick = 0): Promise<void> {
    while (await this.tidyOnce(pick));
  }

  /** Everything that is wrong now; empty when all is well. */
  async faults(): Promise<string[]> {
    const faults: string[] = []
    const expect = (what: string, seen: unknown, wanted: unknown) => {
      if (JSON.stringify(seen) !== JSON.stringify(wanted)) {
        faults.push(`${what} is ${JSON.stringify(seen)}, should be ${JSON.stringify(wanted)}`)
      }
    }
    for (const { head, content } of this.volumes) expect(`volume on ${head}`, await this.pool.read(head), content)
    for (const snapshot of this.snapshots) {
      const { layer, point } = this.#refOf(snapshot)
      expect(`snapshot ${point}`, await this.pool.read(layer, point), snapshot.content)
    }
    const index = indexOf(this.forest)
    const { layers } = await this.pool.driver.survey()
    const lines = (pairs: readonly (readonly [LayerId, LayerId | null])[]) => pairs.map((pair) => pair.join('<')).sort()
    expect(
      'the storage',
      lines(layers.map(({ layer, backing }) => [layer, backing])),
      lines(this.forest.layers.map(({ id }) => [id, index.parentOf(id)])),
    )
    expect('the heads', [...this.forest.heads].sort(), this.volumes.map(({ head }) => head).sort())
    return faults
  }

  async #mergeOne(pick: number): Promise<boolean> {
    const { driver } = this.pool
    const allocated = await driver.allocated(this.forest.layers.map(({ id }) => id))
    const directions = this.#shape === 'one' ? (['pull', 'push'] as const) : (['pull'] as const)
    const plan = planMerges(this.forest, { allocated, running: new Set(), kept: new Set(), directions })
    const planned = plan[pick % Math.max(1, plan.length)]
    if (planned === undefined) return false
    await driver.merge(planned.merge)
    this.forest = afterMerge(this.forest, planned.merge)
    const { lower, upper, direction } = planned.merge
    await driver.remove(direction === 'pull' ? lower : upper)
    if (direction === 'push') for (const volume of this.volumes) if (volume.head === upper) volume.head = lower
    return true
  }

  async #grow(from: PointRef | null, sizeBlocks: number): Promise<LayerId> {
    const size: Bytes = sizeBlocks * blockBytes
    const layer = await makeLayer(this.pool, from, size)
    this.forest = afterNewLayer(this.forest, layer, from?.point ?? null, size)
    return layer
  }

  #refOf({ at }: Snapshot): PointRef {
    const point = this.forest.points.find(({ id }) => id === at)
    if (point === undefined) throw new Error(`point ${at} is lost`)
    return { layer: point.layer, point: at }
  }
}

/** A step drawn at random: what to do, and numbers that choose among what there is. */
export type Move = {
  readonly what: (typeof kindsOfMove)[number]
  readonly a: number
  readonly b: number
  readonly byte: number
}
export const kindsOfMove = [
  'create',
  'createFrom',
  'write',
  'write',
  'write',
  'snapshot',
  'snapshot',
  'rollBack',
  'deleteSnapshot',
  'deleteVolume',
  'tidyOnce',
  'tidy',
] as const

const choose = <T>(from: readonly T[], number: number): T | undefined => from[number % Math.max(1, from.length)]

export async function play(player: ForestPlayer, { what, a, b, byte }: Move): Promise<void> {
  const volume = choose(player.volumes, a)
  const snapshot = choose(player.snapshots, b)
  if (what === 'create') await player.create(4 + (a % 5))
  else if (what === 'createFrom' && snapshot) await player.createFrom(snapshot, a % 3)
  else if (what === 'write' && volume) await player.write(volume, b, byte)
  else if (what === 'snapshot' && volume) await player.snapshot(volume)
  else if (what === 'rollBack' && volume && snapshot) await player.rollBack(volume, snapshot)
  else if (what === 'deleteSnapshot' && snapshot) player.deleteSnapshot(snapshot)
  else if (what === 'deleteVolume' && volume) player.deleteVolume(volume)
  else if (what === 'tidyOnce') await player.tidyOnce(a)
  else if (what === 'tidy') await player.tidy(a)
}

/** Everything that has a name is deleted; what is left must be nothing. */
export async function deleteAll(player: ForestPlayer, order: number): Promise<void> {
  for (let turn = order; player.volumes.length + player.snapshots.length > 0; turn = turn * 7 + 3) {
    const snapshot = choose(player.snapshots, turn)
    const volume = choose(player.volumes, turn)
    if (snapshot && (turn % 2 === 0 || !volume)) player.deleteSnapshot(snapshot)
    else if (volume) player.deleteVolume(volume)
    if (turn % 3 === 0) await player.tidyOnce(turn)
  }
  await player.tidy()
}
