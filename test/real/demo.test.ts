/** `npm run demo` as a user runs it, twice in a row on one state: proved, timed, and nothing of it is left. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { lendGuest } from '../support/bare-guest.ts'
import { Installation } from '../support/installation.ts'

const minutes = 60_000
const script = new URL('../../src/launcher/demo.ts', import.meta.url).pathname

let box: Installation
beforeAll(async () => {
  box = await Installation.start()
  await lendGuest(box.state)
}, 5 * minutes)
afterAll(() => box.end())

const phases = [
  'start',
  'image',
  'create',
  'boot',
  'write_a',
  'snapshot_a',
  'write_b',
  'snapshot_b',
  'rollback_a',
  'read_a',
  'list_b',
  'write_c',
  'rollback_b',
  'read_b',
  'undo',
  'read_c',
  'cleanup',
]

test.each(['first', 'second'])('the %s time', { timeout: 15 * minutes }, async () => {
  const { PATH = '', HOME = '/' } = process.env
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [script, '--json'], {
    env: { PATH, HOME, ...box.environment },
    timeout: 14 * minutes,
  })
  expect(stdout.trim().split('\n')).toHaveLength(1)
  const told: { ok: boolean; phases: Record<string, number> } = JSON.parse(stdout)
  expect(told.ok).toBe(true)
  expect(Object.keys(told.phases)).toEqual(phases)
  for (const seconds of Object.values(told.phases)) expect(seconds).toBeGreaterThan(0)
  expect(stderr).toContain('Proved: ')

  const cloud = await box.logIn()
  const count = async (path: string, noun: string) => (await cloud.get<Record<string, unknown[]>>(path))[noun]
  expect(await count('/compute/v2.1/servers', 'servers')).toEqual([])
  expect(await count(cloud.volumePath('/volumes'), 'volumes')).toEqual([])
  expect(await count(cloud.volumePath('/snapshots'), 'snapshots')).toEqual([])
  expect(await count('/image/v2/images', 'images')).toHaveLength(3)
})
