/** How soon it serves after `npm start` on a state that exists, and what it holds in memory when idle. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Installation } from '../test/support/installation.ts'
import { type Spread, spread } from './statistics.ts'

export type Footprint = {
  readonly serving: Spread
  /** MiB, proportional set size. */
  readonly controller: number
  readonly agent: number
  readonly postgres: number
}

const root = new URL('..', import.meta.url).pathname

/** Idle means: nothing asked for so long. */
const idleMs = 15_000

export async function benchFootprint(box: Installation, runs: number): Promise<Footprint> {
  const serving: number[] = []
  await npmStart(box)
  for (let at = 0; at < runs; at += 1) {
    await box.down()
    serving.push(await npmStart(box))
  }
  await sleep(idleMs)
  const [controller, agent, postgres] = await Promise.all([
    box.pids('controller').then(memoryOf),
    box.pids('agent').then(memoryOf),
    box
      .pids('database')
      .then(async ([postmaster]) => (postmaster === undefined ? 0 : memoryOf([postmaster, ...(await childrenOf(postmaster))]))),
  ])
  return { serving: spread(serving), controller, agent, postgres }
}

/** Seconds from `npm start` to the first good answer of `/healthz`. */
async function npmStart(box: Installation): Promise<number> {
  const since = performance.now()
  const env = { ...process.env, ...box.environment }
  const npm = spawn('npm', ['start'], { cwd: root, env, stdio: 'ignore' })
  const exited = once(npm, 'exit')
  while (!(await answers(box.url))) await sleep(5)
  const seconds = (performance.now() - since) / 1000
  await exited
  return seconds
}

const answers = (url: string): Promise<boolean> =>
  fetch(`${url}/healthz`, { signal: AbortSignal.timeout(1_000) }).then(
    ({ ok }) => ok,
    () => false,
  )

async function memoryOf(pids: readonly number[]): Promise<number> {
  const texts = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/smaps_rollup`, 'utf8').catch(() => '')))
  const kib = texts.reduce((sum, text) => sum + Number(/^Pss:\s+(\d+)/m.exec(text)?.[1] ?? 0), 0)
  return Math.round(kib / 1024)
}

async function childrenOf(parent: number): Promise<number[]> {
  const all = (await readdir('/proc')).map(Number).filter(Number.isInteger)
  const stats = await Promise.all(
    all.map(async (pid) => ({ pid, stat: await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '') })),
  )
  return stats
    .filter(({ stat }) => Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === parent)
    .map(({ pid }) => pid)
}
