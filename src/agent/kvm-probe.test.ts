import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { acceleratorWorks, chooseAccelerator } from './kvm-probe.ts'

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'comeback-probe-'))
})
afterEach(() => rm(directory, { recursive: true, force: true }))

test('the probe runs to its end where code runs, and what does not end in time does not work', async () => {
  expect(await acceleratorWorks('tcg', { deadlineMs: 60_000 })).toBe(true)
  expect(await acceleratorWorks('tcg', { deadlineMs: 1 })).toBe(false)
})

test('what this host has is found out within the deadline, once a boot', async () => {
  const memory = join(directory, 'accelerator.json')
  const since = performance.now()
  const choice = await chooseAccelerator(memory, 'boot-1')
  expect(performance.now() - since).toBeLessThan(60_000)
  expect(choice.why).toMatch(/KVM runs code|there is no \/dev\/kvm|code hangs on it/)
  expect(choice.accelerator === 'kvm').toBe(choice.kvmGroup !== null)

  const told = { accelerator: 'kvm', kvmGroup: 7, why: 'told by the test' } as const
  await writeFile(memory, JSON.stringify({ bootId: 'boot-1', choice: told }))
  expect(await chooseAccelerator(memory, 'boot-1')).toEqual(told)
  expect(await chooseAccelerator(memory, 'boot-2')).toEqual(choice)
  expect(JSON.parse(await readFile(memory, 'utf8'))).toMatchObject({ bootId: 'boot-2', choice })
  await writeFile(memory, '')
  expect(await chooseAccelerator(memory, 'boot-2')).toEqual(choice)
})
