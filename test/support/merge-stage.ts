/**
 * A line of layers for merges that are killed: base <- lower <- upper (<- children), with clusters scattered over many tables,
 * because tables that never reached the disk are what such kills lose. What each reader must see is kept as raw files.
 */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Qcow2Driver } from '../../src/adapters/storage/qcow2/driver.ts'
import { type LayerId, newId } from '../../src/domain/ids.ts'
import type { Merge } from '../../src/ports/storage-driver.ts'
import { makeLayer, markPoint, recordOf, type TestPool } from './storage-fixtures.ts'

const run = promisify(execFile)

/** Each L2 table covers 512 MiB: this makes 32 of them. */
export const stageBytes = 16 * 1024 ** 3
const clusterBytes = 65_536

export type Stage = {
  readonly directory: string
  readonly pool: string
  readonly merge: Merge
  /** Layers that are read from above, each with the raw file that it must equal. */
  readonly readers: readonly { readonly layer: LayerId; readonly raw: string }[]
}

/** Fills clusters all over the image; equal seeds fill the same ones. */
export async function scatter(path: string, seed: number, count: number): Promise<void> {
  const child = spawn('qemu-io', ['-f', 'qcow2', path], { stdio: ['pipe', 'ignore', 'inherit'] })
  const clusters = stageBytes / clusterBytes
  for (let at = 0; at < count; at++) {
    const cluster = (seed * 7919 + at * Math.floor(clusters / count) + ((at * 31) % 17)) % clusters
    child.stdin.write(`write -q -P ${1 + ((seed + at) % 250)} ${cluster * clusterBytes} ${clusterBytes}\n`)
  }
  child.stdin.end('quit\n')
  await once(child, 'exit')
}

const open = (directory: string, pool: string, runtime: string): Promise<Qcow2Driver> =>
  Qcow2Driver.open(pool as Qcow2Driver['pool'], { directory, runtime, diskOwner: null, lowUser: null, holdPatienceMs: 3000 })

export const openStage = (stage: Stage, runtime: string): Promise<Qcow2Driver> => open(stage.directory, stage.pool, runtime)

/** `children`: whether the upper layer is a point with two children, or a head. */
export async function buildStage(
  direction: Merge['direction'],
  shape: { children: boolean; blankBottom: boolean },
): Promise<Stage> {
  const root = await mkdtemp(join(tmpdir(), 'comeback-stage-'))
  const directory = join(root, 'pool')
  const pool = newId<Qcow2Driver['pool']>()
  const driver = await open(directory, pool, join(root, 'run'))
  const at: Pick<TestPool, 'driver'> = { driver }
  const make = async (below: LayerId | null, seed: number, count: number) => {
    const layer = await makeLayer(at, below === null ? null : await markPoint(at, below), stageBytes)
    await scatter(driver.files.layer(layer), seed, count)
    return layer
  }
  const base = shape.blankBottom ? null : await make(null, 1, 48)
  const lower = await make(base, 2, 96)
  const upper = await make(lower, 3, 80)
  const heads = shape.children ? await Promise.all([4, 5].map((seed) => childOf(at, upper, seed))) : [upper]
  const readers = await Promise.all(
    heads.map(async (layer) => {
      const raw = join(root, `${layer}.raw`)
      await run('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', driver.files.layer(layer), raw])
      return { layer, raw }
    }),
  )
  await driver.close()
  return { directory, pool, merge: { lower, upper, base, direction }, readers }
}

async function childOf(at: Pick<TestPool, 'driver'>, upper: LayerId, seed: number): Promise<LayerId> {
  const point = { layer: upper, point: newId<Parameters<Qcow2Driver['mark']>[1]>() }
  const layer = await makeLayer(at, point, stageBytes)
  const driver = at.driver
  if (driver instanceof Qcow2Driver) await scatter(driver.files.layer(layer), seed, 16)
  await driver.describe(recordOf(driver.pool, layer, { parent: point, sizeBytes: stageBytes }))
  return layer
}

/** The same stage again, on files of its own. The result's `drop` removes them. */
export async function copyOf(stage: Stage): Promise<Stage & { drop: () => Promise<void> }> {
  const root = await mkdtemp(join(tmpdir(), 'comeback-stage-'))
  const directory = join(root, 'pool')
  await run('cp', ['-a', '--sparse=always', stage.directory, directory])
  return { ...stage, directory, drop: () => rm(root, { recursive: true, force: true }) }
}

/** Which readers do not read, byte for byte, what they must. `moved`: the head goes by another name now. */
export async function badReaders(stage: Stage, moved: (layer: LayerId) => LayerId = (layer) => layer): Promise<string[]> {
  const results = await Promise.all(
    stage.readers.map(async ({ layer, raw }) => {
      const path = join(stage.directory, 'layers', `${moved(layer)}.qcow2`)
      try {
        await run('qemu-img', ['compare', '-U', '-q', '-f', 'raw', '-F', 'qcow2', raw, path])
        return []
      } catch (error) {
        return [`${moved(layer)}: ${String(error)}`]
      }
    }),
  )
  return results.flat()
}
