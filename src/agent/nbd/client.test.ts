import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { NbdClient, type NbdContext } from './client.ts'
import { NbdRefused } from './errors.ts'
import type { Status } from './replies.ts'

const MiB = 1024 ** 2
const size = 64 * MiB
const both: readonly NbdContext[] = ['base:allocation', 'qemu:allocation-depth']

let directory: string
let daemon: ChildProcess
const socket = (): string => join(directory, 'nbd')

const node = (name: string, backing: string | null, writable: boolean) => [
  '--blockdev',
  JSON.stringify({
    driver: 'qcow2',
    'node-name': name,
    backing,
    'read-only': !writable,
    discard: 'unmap',
    file: { driver: 'file', filename: join(directory, `${name}.qcow2`), 'auto-read-only': true, discard: 'unmap' },
  }),
]

const exported = (name: string, writable: boolean) => [
  '--export',
  `type=nbd,id=${name},node-name=${name},name=${name},writable=${writable ? 'on' : 'off'},allocation-depth=on`,
]

/** Two layers on one another and a third by itself, served by the real daemon. */
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nbd-'))
  const file = (name: string) => join(directory, `${name}.qcow2`)
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', file('lower'), String(size)])
  execFileSync('qemu-io', ['-f', 'qcow2', '-c', 'write -q -P 17 0 1M', '-c', 'write -q -P 18 8M 64k', file('lower')])
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', file('lower'), '-F', 'qcow2', file('upper')])
  execFileSync('qemu-io', ['-f', 'qcow2', '-c', 'write -q -P 33 64k 64k', '-c', 'write -q -z 8M 64k', file('upper')])
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', file('blank'), String(size)])
  daemon = spawn(
    'qemu-storage-daemon',
    [
      ...['--nbd-server', `addr.type=unix,addr.path=${socket()},max-connections=0`],
      ...[...node('lower', null, false), ...node('upper', 'lower', false), ...node('blank', null, true)],
      ...[...exported('upper', false), ...exported('blank', true)],
      ...['--chardev', 'stdio,id=qmp,signal=off', '--monitor', 'chardev=qmp'],
    ],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  )
  await once(daemon.stdout!, 'data') // greets when all is open
})
afterAll(async () => {
  const gone = once(daemon, 'exit')
  daemon.kill('SIGKILL')
  await gone
  await rm(directory, { recursive: true })
})

/** All of the disk, asked again from where each answer ended. */
async function statusOf(client: NbdClient, context: NbdContext): Promise<Status[]> {
  const all: Status[] = []
  for (let at = 0; at < client.sizeBytes; ) {
    const part = await client.blockStatus(context, at, client.sizeBytes - at)
    all.push(...part)
    at += part.reduce((sum, { length }) => sum + length, 0)
  }
  return all
}

test('a read gives what the layers hold, upper before lower', async () => {
  const client = await NbdClient.connect(socket(), { export: 'upper' })
  expect(client.sizeBytes).toBe(size)
  expect(client.readOnly).toBe(true)
  const data = await client.read(0, 2 * MiB)
  expect([data[0], data[65_535], data[65_536], data[131_071], data[131_072], data[MiB - 1], data[MiB]]).toEqual([
    17, 17, 33, 33, 17, 17, 0,
  ])
  expect((await client.read(8 * MiB, 65_536)).every((byte) => byte === 0)).toBe(true)
  await client.close()
})

test('a hundred reads at once each get their own bytes', async () => {
  const client = await NbdClient.connect(socket(), { export: 'upper' })
  const reads = await Promise.all(Array.from({ length: 100 }, (_, at) => client.read((at % 16) * 65_536, 65_536)))
  expect(reads.map((data) => [data[0], data.at(-1)])).toEqual(
    Array.from({ length: 100 }, (_, at) => (at % 16 === 1 ? [33, 33] : [17, 17])),
  )
  await client.close()
})

test('block status tells holes, zeros and the layer that holds what', async () => {
  const client = await NbdClient.connect(socket(), { export: 'upper', contexts: both })
  const zero = await statusOf(client, 'base:allocation')
  expect(zero.map(({ length, status }) => [length, (status & 2) !== 0])).toEqual([
    [MiB, false],
    [size - MiB, true],
  ])
  const depth = await statusOf(client, 'qemu:allocation-depth')
  expect(depth.map(({ length, status }) => [length, status])).toEqual([
    [65_536, 2],
    [65_536, 1],
    [MiB - 131_072, 2],
    [7 * MiB, 0],
    [65_536, 1],
    [size - 8 * MiB - 65_536, 0],
  ])
  await client.close()
})

test('what is written, zeroed and flushed is read by another connection', async () => {
  const writer = await NbdClient.connect(socket(), { export: 'blank' })
  expect(writer.can).toEqual({ flush: true, trim: true, writeZeroes: true })
  const data = Buffer.alloc(3 * MiB, 'comeback')
  await Promise.all([writer.write(5 * MiB, data), writer.write(20 * MiB, data), writer.write(40 * MiB, data)])
  await writer.writeZeroes(21 * MiB, MiB)
  await writer.trim(40 * MiB, MiB)
  await writer.flush()
  await writer.close()
  const reader = await NbdClient.connect(socket(), { export: 'blank', contexts: ['base:allocation'] })
  expect((await reader.read(5 * MiB, 3 * MiB)).equals(data)).toBe(true)
  expect((await reader.read(20 * MiB, MiB)).equals(data.subarray(0, MiB))).toBe(true)
  expect((await reader.read(21 * MiB, MiB)).equals(Buffer.alloc(MiB))).toBe(true)
  const [hole] = await reader.blockStatus('base:allocation', 40 * MiB, MiB)
  expect(hole).toEqual({ length: MiB, status: 3 })
  await reader.close()
})

test("the server's refusals are told with their number, and the connection goes on", async () => {
  const client = await NbdClient.connect(socket(), { export: 'upper' })
  await expect(client.write(0, Buffer.alloc(512))).rejects.toMatchObject({ name: 'NbdRefused', errno: 22 })
  await expect(client.read(size, 512)).rejects.toMatchObject({ name: 'NbdRefused', errno: 22 })
  expect((await client.read(0, 512))[0]).toBe(17)
  await client.close()
  await expect(NbdClient.connect(socket(), { export: 'none' })).rejects.toBeInstanceOf(NbdRefused)
})

test('a context that the server does not have is said when connecting', async () => {
  const contexts = ['qemu:dirty-bitmap:none' as NbdContext]
  await expect(NbdClient.connect(socket(), { export: 'upper', contexts })).rejects.toThrow('qemu:dirty-bitmap:none')
})

test('where nobody listens, connecting says so', async () => {
  await expect(NbdClient.connect(join(directory, 'nobody'), { export: 'upper' })).rejects.toMatchObject({ name: 'NbdClosed' })
})
