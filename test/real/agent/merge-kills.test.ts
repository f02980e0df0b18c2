/** QEMU is killed dozens of times around the end of each kind of live merge; what the disk reads afterwards is compared byte by byte. */
import { execFile } from 'node:child_process'
import { closeSync, existsSync, openSync, readSync } from 'node:fs'
import { copyFile, mkdir, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate as breathe, setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  asId,
  type InstanceId,
  type LayerId,
  newId,
  type PointId,
  type PoolId,
  type VolumeId,
} from '../../../src/domain/ids.ts'
import type { MachineSpec } from '../../../src/ports/host-agent.ts'
import type { Merge, StorageDriver } from '../../../src/ports/storage-driver.ts'
import { AgentProcess } from '../../support/agent-process.ts'
import { layerRecordOf, MiB } from '../../support/real-guest.ts'

const run = promisify(execFile)
const kills = Number(process.env['KILLS'] ?? 24)
const size = 64 * MiB
const depth = 4

let agent: AgentProcess
let storage: StorageDriver
let pool: PoolId
let originals: string
const names = Array.from({ length: depth }, () => newId<LayerId>())

const layersDirectory = (): string => join(agent.directory, 'state/pool/layers')
const fileOf = (layer: LayerId): string => join(layersDirectory(), `${layer}.qcow2`)

/** Four layers with many small writes each, so that their tables are worth losing. Made once, copied for each kill. */
beforeAll(async () => {
  agent = await AgentProcess.start()
  storage = await agent.storage()
  pool = (await agent.pool()).id
  originals = join(agent.directory, 'originals')
  await mkdir(originals)
  for (const [at, layer] of names.entries()) {
    const below = names[at - 1]
    const parent = below === undefined ? null : { layer: below, point: newId<PointId>() }
    await storage.newLayer(layer, parent, size, layerRecordOf(layer, pool, 'head', size, parent))
    const writes = Array.from({ length: 400 }, (_, n) => [
      '-c',
      `write -P ${17 + at * 50 + (n % 40)} ${((n * 37 + at * 11) % 1000) * 64}k 64k`,
    ])
    await run('qemu-io', ['-f', 'qcow2', ...writes.flat(), fileOf(layer)])
  }
  for (const layer of names) await rename(fileOf(layer), join(originals, `${layer}.qcow2`))
})
afterAll(() => agent.end())

/** Fresh layers under fresh names, each upon the copy of the one below. */
async function freshChain(): Promise<LayerId[]> {
  const chain = names.map(() => newId<LayerId>())
  for (const [at, layer] of chain.entries()) {
    const below = chain[at - 1]
    const path = fileOf(layer)
    await copyFile(join(originals, `${names[at]}.qcow2`), path)
    if (below !== undefined)
      await run('qemu-img', ['rebase', '-u', '-f', 'qcow2', '-F', 'qcow2', '-b', `${below}.qcow2`, path], {
        cwd: layersDirectory(),
      })
    const record = layerRecordOf(layer, pool, at === depth - 1 ? 'head' : 'frozen', size)
    if (at === depth - 1) await storage.unmark(layer, newId<PointId>(), record)
    else await storage.mark(layer, newId<PointId>(), record)
  }
  return chain
}

const specOf = (chain: readonly LayerId[]): MachineSpec => ({
  instance: newId<InstanceId>(),
  name: 'merging',
  vcpus: 1,
  ramMib: 32,
  disks: [{ device: 'vda', volume: newId<VolumeId>(), pool, chain, sizeBytes: size }],
  nic: null,
  directBoot: null,
})

const pidOf = async (instance: InstanceId): Promise<number> =>
  JSON.parse(await readFile(join(agent.directory, 'state/agent/machines', instance, 'machine.json'), 'utf8')).process.pid

async function sumOf(head: LayerId): Promise<string> {
  const raw = join(agent.directory, 'content.raw')
  await run('qemu-img', ['convert', '-O', 'raw', fileOf(head), raw])
  return (await run('md5sum', [raw])).stdout.slice(0, 32)
}

/** The head's chain now, as the files themselves say it. */
async function chainOf(head: LayerId): Promise<LayerId[]> {
  const { stdout } = await run('qemu-img', ['info', '--backing-chain', '--output=json', fileOf(head)])
  const files: { filename: string }[] = JSON.parse(stdout)
  return files.map(({ filename }) => asId<LayerId>(filename.slice(-42, -6)))
}

const header = (fd: number): string => {
  const bytes = Buffer.alloc(1024)
  readSync(fd, bytes, 0, bytes.length, 0)
  return bytes.toString('latin1')
}

/** Kills as soon as the file's header has changed, after that many microseconds more. */
async function killAtHeader(pid: number, path: string, moreUs: number, over: Promise<unknown>): Promise<boolean> {
  const fd = openSync(path, 'r')
  const before = header(fd)
  let ended = false
  void over.finally(() => {
    ended = true
  })
  while (header(fd) === before && !ended) await breathe()
  const changed = header(fd) !== before
  const until = performance.now() + moreUs / 1000
  while (performance.now() < until);
  process.kill(pid, 'SIGKILL')
  closeSync(fd)
  return changed
}

type Kind = {
  readonly name: string
  readonly plan: (chain: LayerId[]) => Merge
  readonly names: (chain: LayerId[]) => LayerId | null
  readonly head: (chain: LayerId[]) => LayerId[]
}

const at = (chain: LayerId[], n: number): LayerId => chain[n]!
const kinds: Kind[] = [
  {
    name: 'pull in the middle',
    plan: (c) => ({ lower: at(c, 1), upper: at(c, 2), base: at(c, 0), direction: 'pull' }),
    names: (c) => at(c, 2),
    head: (c) => [at(c, 3)],
  },
  {
    name: 'pull into the head',
    plan: (c) => ({ lower: at(c, 2), upper: at(c, 3), base: at(c, 1), direction: 'pull' }),
    names: (c) => at(c, 3),
    head: (c) => [at(c, 3)],
  },
  {
    name: 'push in the middle',
    plan: (c) => ({ lower: at(c, 1), upper: at(c, 2), base: at(c, 0), direction: 'push' }),
    names: (c) => at(c, 3),
    head: (c) => [at(c, 3)],
  },
  {
    // No header changes: the device alone knows. Until the record is durable both heads read the same.
    name: 'push of the head',
    plan: (c) => ({ lower: at(c, 2), upper: at(c, 3), base: at(c, 1), direction: 'push' }),
    names: () => null,
    head: (c) => [at(c, 3), at(c, 2)],
  },
]

test.each(kinds)('$name: killed at its end, every byte is there', async ({ plan, names: namer, head }) => {
  let reference: string | undefined
  let typicalMs = 100
  let inWindow = 0
  const bad: string[] = []
  for (let n = 0; n < kills; n++) {
    const chain = await freshChain()
    reference ??= await sumOf(chain.at(-1)!)
    const spec = specOf(chain)
    const host = agent.host(`instance:${spec.instance}`)
    await host.startMachine(spec)
    const pid = await pidOf(spec.instance)
    const since = performance.now()
    const merging = host.mergeLive(spec.instance, 'vda', pool, plan(chain)).then(
      () => true,
      () => false,
    )
    const watched = namer(chain)
    if (n === 0) {
      expect(await merging).toBe(true)
      typicalMs = performance.now() - since
      process.kill(pid, 'SIGKILL')
    } else if (watched === null) {
      await Promise.race([pause(typicalMs * (0.5 + (0.7 * n) / kills)), merging])
      process.kill(pid, 'SIGKILL')
    } else if (await killAtHeader(pid, fileOf(watched), (n % 8) * 250, merging)) inWindow++
    const merged = await merging
    while ((await host.machine(spec.instance)).state !== 'off') await pause(5)
    const heads = head(chain)
    // Once the merge was answered only its last head is right; before that, the first one whose file is there.
    const judge = async (one: LayerId, when: string): Promise<void> => {
      const sum = await sumOf(one)
      if (sum !== reference) bad.push(`kill ${n}, ${when}: ${one} over ${(await chainOf(one)).length} layers reads ${sum}`)
      await run('qemu-img', ['check', '-q', fileOf(one)]).catch((error: { code?: number }) => {
        if (error.code !== 3) throw error // 3: leaked clusters, which harm nothing
      })
    }
    await judge(merged ? heads.at(-1)! : heads.find((one) => existsSync(fileOf(one)))!, 'at once')
    if (!merged && n % 3 === 0) {
      await storage.merge(plan(chain))
      await judge(heads.at(-1)!, 'ended by the storage')
    }
    await host.stopMachine(spec.instance, { mode: 'hard', graceSeconds: 0 })
    await host.forgetMachine(spec.instance)
    for (const layer of chain.toReversed()) await storage.remove(layer)
  }
  console.log(
    `${kills} kills, ${inWindow} right after the header was changed, ${bad.length} bad; a merge takes ${Math.round(typicalMs)} ms`,
  )
  expect(bad).toEqual([])
})
