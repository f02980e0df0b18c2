import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type BareGuest, bootBareGuest, demoGuest, newDisk } from '../support/bare-guest.ts'

let folder: string
let disks: { root: string; disks: string[] }
let guest: BareGuest

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'comeback-guest-'))
  disks = {
    root: await newDisk(join(folder, 'root.qcow2'), (await demoGuest()).disk),
    disks: [await newDisk(join(folder, 'data.qcow2')), await newDisk(join(folder, 'third.qcow2'))],
  }
  guest = await bootBareGuest(disks)
  await guest.says(/GUEST-READY (\S+)/)
})
afterAll(async () => {
  await guest.kill()
  await rm(folder, { recursive: true })
})

const writerFiles = ['/writer.log', '/data/writer.log', '/disks/vdc/writer.log']

async function verified(): Promise<Record<string, string>[]> {
  const { output } = await guest.shell('writer verify')
  return output.split('\n').map((line) => {
    const [file, ...facts] = line.trim().split(' ')
    return { file: file ?? '', ...Object.fromEntries(facts.map((fact) => fact.split('='))) }
  })
}

test('gets the address that its port has', async () => {
  expect(await guest.says(/GUEST-IP (\S+)/)).toBe('10.7.3.77')
})

test('its guest agent answers, and freezes and thaws all three file systems', async () => {
  expect(await guest.guestAgent('guest-ping')).toEqual({ return: {} })
  expect(await guest.guestAgent('guest-fsfreeze-freeze')).toEqual({ return: 3 })
  expect(await guest.guestAgent('guest-fsfreeze-thaw')).toEqual({ return: 3 })
})

test('answers shell lines with output and exit code', async () => {
  expect(await guest.shell('echo one; echo two >&2; false')).toEqual({ output: 'one\ntwo', code: 1 })
  expect(await guest.shell('cat /proc/1/comm')).toEqual({ output: 'init', code: 0 })
})

test('the writer writes the same acknowledged lines on every disk', async () => {
  expect((await guest.shell('writer start 7')).code).toBe(0)
  await guest.says(/ACK 20\b/)
  await guest.shell('writer stop')
  const acknowledged = Number((await guest.shell('writer status')).output)
  expect(acknowledged).toBeGreaterThanOrEqual(20)
  expect(await verified()).toEqual(
    writerFiles.map((file) => ({
      file,
      last: String(acknowledged),
      tag: '7',
      lines: String(acknowledged),
      gap: 'none',
      bad: '0',
      torn: '0',
    })),
  )
})

test('verify finds a changed byte, a missing line and a torn end', async () => {
  const before = await verified()
  await guest.shell(`sed -i -e '3s/7/8/' -e '5d' /data/writer.log; printf '999 7' >>/data/writer.log`)
  const after = await verified()
  expect(after[0]).toEqual(before[0])
  expect(after[1]).toMatchObject({ gap: '3:4', bad: '1', torn: '1' })
})

test('after a kill -9 every acknowledged line is there, and the writer goes on behind it', async () => {
  await guest.shell('rm -f /writer.log /data/writer.log /disks/vdc/writer.log; sync; writer start 1')
  await guest.says(/ACK 30\b/)
  await guest.kill()
  const acknowledged = Number([...(await guest.console()).matchAll(/ACK (\d+)\r?\n/g)].at(-1)?.[1])
  expect(acknowledged).toBeGreaterThanOrEqual(30)
  guest = await bootBareGuest(disks)
  await guest.says(/GUEST-READY/)
  for (const facts of await verified()) {
    expect(facts).toMatchObject({ tag: '1', gap: 'none', bad: '0' })
    expect(Number(facts['last'])).toBeGreaterThanOrEqual(acknowledged)
  }
  await guest.shell('writer start 2')
  await guest.says(/ACK \d\d/)
  await guest.shell('writer stop')
  for (const facts of await verified()) expect(facts).toMatchObject({ tag: '2', gap: 'none', bad: '0', torn: '0' })
})

test('the power button shuts it down', async () => {
  await guest.qmp('system_powerdown')
  await Promise.race([guest.exited, sleep(120_000).then(() => expect.fail('it is still running'))])
})
