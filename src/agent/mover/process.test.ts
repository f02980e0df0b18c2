import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { expect, test, vi } from 'vitest'
import { quietLog } from '../../../test/support/quiet-log.ts'
import { newId } from '../../domain/ids.ts'
import type { MoveProgress } from '../../ports/vault-mover.ts'
import type { Job } from './job.ts'
import { type MoverProcessOptions, runJob } from './process.ts'

const program = new URL('../../../test/support/stand-ins/mover.ts', import.meta.url).pathname
const key = Buffer.from('thirty-two bytes that are secret').toString('base64')

const jobAt = (place: string): Job => ({
  call: 'testVault',
  args: [{ vault: newId(), place: { kind: 'directory', directory: `/srv/${place}` }, key, bytesPerSecond: null, parallel: 4 }],
  source: null,
  target: null,
  taken: [],
})

function options(changes: Partial<MoverProcessOptions> = {}) {
  const log = quietLog()
  return { log, options: { program, worksFor: `/tmp/mover-test-${newId()}`, log, silenceMs: 30_000, ...changes } }
}

const never = new AbortController().signal

/** Numbers of the processes that work for this directory. */
async function workersFor(directory: string): Promise<string[]> {
  const numbers = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const environments = await Promise.all(numbers.map((pid) => readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '')))
  return numbers.filter((_, at) => environments[at]?.includes(directory))
}

test('a job is done in a process of its own, and its answer comes back', async () => {
  const told: MoveProgress[] = []
  expect(await runJob(options().options, jobAt('answers'), (news) => told.push(news), never)).toEqual({
    freeBytes: 7,
    sharesDiskWith: [],
  })
  expect(told.at(-1)).toEqual({ doneBytes: 1, totalBytes: 3, bytesPerSecond: 2 })
})

test('a refusal crosses whole', async () => {
  await expect(runJob(options().options, jobAt('refuses'), () => undefined, never)).rejects.toMatchObject({
    name: 'Refusal',
    code: 'backupDamaged',
    kind: 'unavailable',
    message: expect.stringContaining('packs/1.pack'),
    facts: { object: 'packs/1.pack', backups: ['a', 'b'] },
  })
})

test.each([
  ['fails', 'a defect of the mover'],
  ['ends', ''],
])('one that %s is a failure of the host, and the log has its words', async (place, words) => {
  const { options: given, log } = options()
  await expect(runJob(given, jobAt(place), () => undefined, never)).rejects.toMatchObject({ code: 'hostFailure' })
  expect(JSON.stringify(log.lines)).toContain(words)
  expect(JSON.stringify(log.lines)).not.toContain(key)
})

test('aborted, it is killed and waited for', async () => {
  const { options: given } = options()
  const enough = new AbortController()
  const told = vi.fn()
  const running = runJob(given, jobAt('works'), told, enough.signal)
  await vi.waitFor(() => expect(told).toHaveBeenCalled(), 15_000)
  expect(await workersFor(given.worksFor)).toHaveLength(1)
  enough.abort(new Error('somebody newer came'))
  await expect(running).rejects.toThrow('somebody newer came')
  expect(await workersFor(given.worksFor)).toEqual([])
})

test('one that says nothing any more is ended', async () => {
  const { options: given } = options({ silenceMs: 3_000 })
  await expect(runJob(given, jobAt('hangs'), () => undefined, never)).rejects.toMatchObject({ code: 'hostFailure' })
  expect(await workersFor(given.worksFor)).toEqual([])
})

test('the key is neither among its arguments nor in its environment, nor in those of whoever started it', async () => {
  const { options: given } = options()
  const enough = new AbortController()
  const told = vi.fn()
  const running = runJob(given, jobAt('works'), told, enough.signal)
  await vi.waitFor(() => expect(told).toHaveBeenCalled(), 15_000)
  const numbers = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  for (const pid of numbers)
    for (const file of ['environ', 'cmdline'])
      expect(await readFile(`/proc/${pid}/${file}`, 'utf8').catch(() => '')).not.toContain(key)
  const [mover] = await workersFor(given.worksFor)
  expect(await readFile(`/proc/${mover}/limits`, 'utf8')).toMatch(/Max core file size +0 /)
  enough.abort()
  await running.catch(() => undefined)
})

test('it ends when whoever gave it the job is gone', async () => {
  const child: ChildProcess = spawn(process.execPath, [program], { stdio: ['pipe', 'pipe', 'inherit'] })
  child.stdin?.write(`${JSON.stringify(jobAt('works'))}\n`)
  await once(child.stdout!, 'data')
  child.stdin?.end()
  expect(await once(child, 'exit')).toEqual([null, 'SIGKILL'])
})

test('a job that cannot be read is not quoted', async () => {
  const child: ChildProcess = spawn(process.execPath, [program], { stdio: ['pipe', 'ignore', 'pipe'] })
  child.stdin?.end(`${key} is no JSON\n`)
  const said = (await child.stderr!.setEncoding('utf8').toArray()).join('')
  expect(said).toContain('the job cannot be read')
  expect(said).not.toContain(key)
})
