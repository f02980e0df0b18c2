/**
 * Every kind of offline merge, its `qemu-img` (or the whole agent with it) killed by SIGKILL around the merge's end, then
 * repeated until done. At every moment each reader must read what it read before, byte for byte; at the end nothing is left over.
 *
 * QEMU loses data when it is killed just after the header names the new backing file: half of the kills of `pull` wait for
 * that very moment. COMEBACK_SOAK_KILLS=200 makes it that many kills of each kind.
 */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { headerOf } from '../../src/adapters/storage/qcow2/survey.ts'
import type { LayerId } from '../../src/domain/ids.ts'
import { badReaders, buildStage, copyOf, openStage, type Stage } from '../support/merge-stage.ts'

const run = promisify(execFile)
const kills = Number(process.env['COMEBACK_SOAK_KILLS'] ?? 12)
const worker = join(import.meta.dirname, '../support/merge-worker.ts')

type Kill = { readonly afterMs: number } | { readonly afterHeaderMs: number }

async function startMerge(stage: Stage, runtime: string) {
  const args = [worker, JSON.stringify(stage), runtime]
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  await once(child.stdout, 'data', { signal: AbortSignal.timeout(30_000) })
  child.stdin.write('go\n')
  return child
}

async function headerNamesAnother({ directory, merge }: Stage, isOver: () => boolean): Promise<void> {
  const path = join(directory, 'layers', `${merge.upper}.qcow2`)
  while (!isOver() && (await headerOf(path))?.backingFile === `${merge.lower}.qcow2`) await pause(1)
}

async function moment(stage: Stage, kill: Kill, isOver: () => boolean): Promise<void> {
  if ('afterHeaderMs' in kill) await headerNamesAnother(stage, isOver)
  await pause('afterMs' in kill ? kill.afterMs : kill.afterHeaderMs)
}

/** Resolves to whether the merge was still running when its agent was killed. */
async function killAgent(stage: Stage, runtime: string, kill: Kill): Promise<boolean> {
  const child = await startMerge(stage, runtime)
  const gone = once(child, 'exit')
  await moment(stage, kill, () => child.exitCode !== null)
  child.kill('SIGKILL')
  await gone
  return child.signalCode === 'SIGKILL'
}

/** The same when only `qemu-img` is killed, which is what aborting does. */
async function killTool(stage: Stage, runtime: string, kill: Kill): Promise<boolean> {
  const driver = await openStage(stage, runtime)
  const killer = new AbortController()
  let over = false
  const merged = driver.merge(stage.merge, killer.signal).then(
    () => true,
    () => false,
  )
  void merged.then(() => {
    over = true
  })
  await moment(stage, kill, () => over)
  killer.abort()
  const finished = await merged
  await driver.close()
  return !finished
}

async function mergeMs(stage: Stage): Promise<number> {
  const copy = await copyOf(stage)
  const runtime = `${copy.directory}-run`
  const child = await startMerge(copy, runtime)
  const from = performance.now()
  await once(child.stdout, 'data', { signal: AbortSignal.timeout(60_000) })
  const took = performance.now() - from
  await once(child, 'exit')
  await copy.drop()
  return took
}

/** The killed tool may hold its locks for a moment longer. */
async function mergeUntilDone(stage: Stage, runtime: string): Promise<LayerId[]> {
  const driver = await openStage(stage, runtime)
  for (let attempt = 1; ; attempt++) {
    try {
      await driver.merge(stage.merge)
      break
    } catch (error) {
      if (attempt === 20 || !/in use/.test(String(error))) throw error
      await pause(25)
    }
  }
  await driver.remove(stage.merge.direction === 'pull' ? stage.merge.lower : stage.merge.upper)
  const { layers, unfinished, foreign } = await driver.survey()
  expect([unfinished, foreign]).toEqual([[], []])
  for (const { layer } of layers) await run('qemu-img', ['check', '-q', '-f', 'qcow2', driver.files.layer(layer)])
  for (const { layer, backing, record } of layers) expect([layer, record?.parent?.layer ?? null]).toEqual([layer, backing])
  await driver.close()
  return layers.map(({ layer }) => layer)
}

async function survives(stage: Stage, kill: Kill, victim: typeof killAgent): Promise<boolean> {
  const copy = await copyOf(stage)
  const runtime = `${copy.directory}-run`
  const { lower, upper, direction } = stage.merge
  const left = direction === 'pull' ? upper : lower
  const wasRunning = await victim(copy, runtime, kill)
  const headNow = (await headerOf(join(copy.directory, 'layers', `${upper}.qcow2`))) === null ? lower : upper
  expect(await badReaders(copy, (layer) => (layer === upper ? headNow : layer))).toEqual([])
  const layers = await mergeUntilDone(copy, runtime)
  expect(await badReaders(copy, (layer) => (layer === upper ? left : layer))).toEqual([])
  expect(layers).not.toContain(direction === 'pull' ? lower : upper)
  await copy.drop()
  return wasRunning
}

describe('a merge that is killed around its end and repeated', () => {
  test.each([
    ['a head absorbs what lies under it', 'pull', { children: false, blankBottom: false }],
    ['a point absorbs the blank bottom', 'pull', { children: true, blankBottom: true }],
    ['a head is committed down', 'push', { children: false, blankBottom: false }],
    ['a point with children is committed down', 'push', { children: true, blankBottom: false }],
  ] as const)('loses nothing: %s', { timeout: 20_000 + kills * 10_000 }, async (_case, direction, shape) => {
    const stage = await buildStage(direction, shape)
    const took = Math.min(await mergeMs(stage), await mergeMs(stage))
    let hit = 0
    for (let at = 0; at < kills; at++) {
      const atHeader = direction === 'pull' && at % 2 === 0
      const kill = atHeader ? { afterHeaderMs: (at % 10) / 2 } : { afterMs: took * (0.3 + (0.7 * at) / kills) }
      if (await survives(stage, kill, at % 3 === 2 ? killAgent : killTool)) hit++
    }
    await rm(join(stage.directory, '..'), { recursive: true })
    expect(hit, 'kills that came before the merge was over').toBeGreaterThanOrEqual(kills / 4)
  })
})
