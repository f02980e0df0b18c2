/** Layers that are being served cannot be merged into or removed, and layers that are being merged are waited for. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { constants } from 'node:fs'
import { type FileHandle, mkdtemp, open, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { allowWritingFile } from '../../../src/adapters/storage/qcow2/access.ts'
import { type ExportsEnvironment, exportsDirectory, serveLayer, servePoint } from '../../../src/agent/exports/exports.ts'
import { NbdSource, NbdTarget } from '../../../src/agent/mover/nbd-blocks.ts'
import { type InstanceId, type LayerId, newId, type PointId, type PoolId, type VolumeId } from '../../../src/domain/ids.ts'
import type { MachineSpec } from '../../../src/ports/host-agent.ts'
import type { Merge, StorageDriver } from '../../../src/ports/storage-driver.ts'
import { AgentProcess } from '../../support/agent-process.ts'
import { quietLog } from '../../support/quiet-log.ts'
import { hard, layerRecordOf, MiB } from '../../support/real-guest.ts'

const run = promisify(execFile)
const size = 16 * MiB
const never = new AbortController().signal

let agent: AgentProcess
let storage: StorageDriver
let pool: PoolId
let directory: string
let handle: FileHandle
let environment: ExportsEnvironment
let chain: LayerId[]

const place = () => ({ directory: join(agent.directory, 'state/pool'), handle })
const fileOf = (layer: LayerId): string => join(place().directory, 'layers', `${layer}.qcow2`)

/** Whom the agent itself would use; `comeback` is QEMU's user here where the agent is root. */
async function userNamed(name: string) {
  if (process.getuid?.() !== 0) return null
  const line = (await readFile('/etc/passwd', 'utf8')).split('\n').find((one) => one.startsWith(`${name}:`))
  const [, , uid, gid] = line!.split(':')
  return { uid: Number(uid), gid: Number(gid) }
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'comeback-served-'))
  agent = await AgentProcess.start()
  storage = await agent.storage()
  pool = (await agent.pool()).id
  handle = await open(place().directory, constants.O_DIRECTORY)
  const [qemuUser, lowUser] = [await userNamed('comeback'), await userNamed('nobody')]
  environment = { runDirectory: directory, qemuUser, lowUser, log: quietLog(), patienceMs: 0 }
})
afterAll(async () => {
  await handle.close()
  await agent.end()
  await rm(directory, { recursive: true })
})

/** Four layers upon one another, each with a MiB of its own; all but the last are frozen. */
beforeEach(async () => {
  chain = []
  for (let at = 0; at < 4; at++) {
    const layer = newId<LayerId>()
    const below = chain.at(-1)
    const parent = below === undefined ? null : { layer: below, point: newId<PointId>() }
    await storage.newLayer(layer, parent, size, layerRecordOf(layer, pool, 'head', size, parent))
    await run('qemu-io', ['-f', 'qcow2', '-c', `write -q -P ${at + 1} ${at}M 1M`, fileOf(layer)])
    if (at < 3) await storage.mark(layer, newId<PointId>(), layerRecordOf(layer, pool, 'frozen', size, parent))
    chain.push(layer)
  }
})

const specOf = (): MachineSpec => ({
  instance: newId<InstanceId>(),
  name: 'served',
  vcpus: 1,
  ramMib: 32,
  disks: [{ device: 'vda', volume: newId<VolumeId>(), pool, chain, sizeBytes: size }],
  nic: null,
  directBoot: null,
})

const mergeAt = (lower: number, direction: Merge['direction'] = 'pull'): Merge => ({
  lower: chain[lower]!,
  upper: chain[lower + 1]!,
  base: chain[lower - 1] ?? null,
  direction,
})

/** What the chain up to that layer reads, in MiB, each filled with one byte. */
async function contentOf(layers: readonly LayerId[]): Promise<number[]> {
  const served = await servePoint(environment, place(), { chain: layers }, null, never)
  const source = await NbdSource.open({ socket: served.socket, sizeBytes: size, to: served.to, from: null })
  const data = await source.read(0, 4 * MiB)
  await source.close()
  await served.end()
  return [0, 1, 2, 3].map((at) => data[at * MiB] ?? -1)
}

const fileMode = async (layer: LayerId): Promise<number> => (await stat(fileOf(layer))).mode & 0o777

test('a point is read while its machine runs, and by a process that may write no layer at all', async () => {
  const spec = specOf()
  await agent.host().startMachine(spec)
  const served = await servePoint(environment, place(), { chain: chain.slice(0, 3) }, null, never)
  const [pid] = await daemons()
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  if (environment.qemuUser !== null && environment.lowUser !== null) {
    expect(status).toMatch(new RegExp(`Uid:\\s+${environment.lowUser.uid}\\s`))
    expect(status).toMatch(new RegExp(`Gid:\\s+${environment.qemuUser.gid}\\s`))
  }
  expect(status).toMatch(/CapBnd:\s+0+\n/)
  expect(status).toMatch(/NoNewPrivs:\s+1\n/)
  expect(status).toMatch(/Groups:\s*\n/)
  const source = await NbdSource.open({ socket: served.socket, sizeBytes: size, to: served.to, from: null })
  expect((await source.read(2 * MiB, MiB)).every((byte) => byte === 3)).toBe(true)
  expect((await source.read(3 * MiB, MiB)).every((byte) => byte === 0)).toBe(true)
  await source.close()
  await served.end()
  expect(await daemons()).toEqual([])
  await agent.host().stopMachine(spec.instance, hard)
})

/** Numbers of the storage daemons that work for this test. */
async function daemons(): Promise<string[]> {
  const found: string[] = []
  for (const pid of await readdir('/proc')) {
    const text = /^\d+$/.test(pid) ? await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '') : ''
    if (text.includes(`=${exportsDirectory(directory)}\0`)) found.push(pid)
  }
  return found
}

test('while a point is served, a merge that would write one of its layers is refused, and nothing has changed', async () => {
  const served = await servePoint(environment, place(), { chain: chain.slice(0, 3) }, null, never)
  for (const merge of [mergeAt(0), mergeAt(1), mergeAt(2, 'push')]) {
    await expect(storage.merge(merge)).rejects.toMatchObject({ code: 'layersBusy', kind: 'unavailable' })
    expect((await storage.readRecord(chain[2]!))?.role).toBe('frozen')
    if (environment.qemuUser !== null) expect(await fileMode(chain[1]!)).toBe(0o440)
  }
  await expect(storage.remove(chain[0]!)).rejects.toMatchObject({ code: 'diskHeldOpen' })
  const source = await NbdSource.open({ socket: served.socket, sizeBytes: size, to: served.to, from: null })
  expect((await source.read(MiB, MiB)).every((byte) => byte === 2)).toBe(true)
  await source.close()
  await served.end()
  await storage.merge(mergeAt(1))
  expect(await contentOf([chain[0]!, chain[2]!])).toEqual([1, 2, 3, 0])
})

test('so is one inside a running machine, which goes on', async () => {
  const spec = specOf()
  await agent.host().startMachine(spec)
  const served = await servePoint(environment, place(), { chain: chain.slice(0, 3) }, null, never)
  const merging = agent.host().mergeLive(spec.instance, 'vda', pool, mergeAt(0))
  await expect(merging).rejects.toMatchObject({ code: 'layersBusy', kind: 'unavailable' })
  expect((await agent.host().machine(spec.instance)).state).toBe('running')
  await served.end()
  await agent.host().mergeLive(spec.instance, 'vda', pool, mergeAt(0))
  expect(await contentOf(chain.slice(1, 3))).toEqual([1, 2, 3, 0])
  await agent.host().stopMachine(spec.instance, hard)
})

test('layers that somebody writes are waited for, and refused when it takes too long', async () => {
  await allowWritingFile(fileOf(chain[1]!), environment.qemuUser) // as merges do
  const writer = spawn('qemu-io', ['-f', 'qcow2', fileOf(chain[1]!)], { stdio: ['pipe', 'pipe', 'inherit'] })
  await once(writer.stdout, 'data')
  const point = { chain: chain.slice(0, 2) }
  await expect(servePoint({ ...environment, patienceMs: 300 }, place(), point, null, never)).rejects.toMatchObject({
    code: 'layersBusy',
  })
  const asked = servePoint({ ...environment, patienceMs: 30_000 }, place(), point, null, never)
  const gone = once(writer, 'exit')
  writer.stdin.end('quit\n')
  await gone
  await (await asked).end()
  expect(await daemons()).toEqual([])
})

test('waiting ends when nobody wants it any more', async () => {
  const writer = spawn('qemu-io', ['-f', 'qcow2', fileOf(chain[3]!)], { stdio: ['pipe', 'pipe', 'inherit'] })
  await once(writer.stdout, 'data')
  const enough = new AbortController()
  const asked = serveLayer({ ...environment, patienceMs: 60_000 }, place(), chain[3]!, enough.signal)
  enough.abort(new Error('enough'))
  await expect(asked).rejects.toThrow('enough')
  writer.kill('SIGKILL')
  await once(writer, 'exit')
  expect(await daemons()).toEqual([])
})

test('a layer is written by itself, durably, and zeros take no room', async () => {
  const layer = newId<LayerId>()
  await storage.newLayer(layer, null, size, layerRecordOf(layer, pool, 'prepared', size))
  const served = await serveLayer(environment, place(), layer, never)
  await expect(serveLayer(environment, place(), layer, never)).rejects.toMatchObject({ code: 'layersBusy' })
  const target = await NbdTarget.open(served.socket, served.export, 'local')
  expect(target.sizeBytes).toBe(size)
  await Promise.all([target.write(MiB, Buffer.alloc(2 * MiB, 7)), target.write(8 * MiB, Buffer.alloc(4 * MiB))])
  await target.flush()
  await target.close()
  await served.end()
  expect((await storage.allocated([layer]))[layer]).toBeLessThan(3 * MiB)
  await run('qemu-img', ['check', '-q', '-f', 'qcow2', fileOf(layer)])
  const { stdout } = await run('qemu-io', [
    '-r',
    '-f',
    'qcow2',
    '-c',
    'read -P 7 1M 2M',
    '-c',
    'read -P 0 3M 13M',
    fileOf(layer),
  ])
  expect(stdout).not.toContain('failed')
})

test('a frozen layer cannot be served for writing', async () => {
  await expect(serveLayer(environment, place(), chain[0]!, never)).rejects.toMatchObject({
    code: 'hostFailure',
    message: expect.stringMatching(/Permission denied/),
  })
})
