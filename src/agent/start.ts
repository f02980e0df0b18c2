/** Puts an agent together: pools, machines of former agents, then the door. */

import { execFile } from 'node:child_process'
import { mkdir, open } from 'node:fs/promises'
import { cpus, totalmem } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Logger } from 'pino'
import { Qcow2Driver } from '../adapters/storage/qcow2/driver.ts'
import { readIfThere } from '../adapters/storage/qcow2/durable.ts'
import { type Bytes, newId, type PoolId } from '../domain/ids.ts'
import { refuse } from '../domain/refusals.ts'
import type { HostHello } from '../ports/host-agent.ts'
import { EventLog } from './event-log.ts'
import { exportsDirectory } from './exports/exports.ts'
import { Fences } from './fences.ts'
import { type Choice, chooseAccelerator } from './kvm-probe.ts'
import type { OpenPool, QemuUser } from './machines/environment.ts'
import { Machines } from './machines/machines.ts'
import { bootIdOf } from './machines/process.ts'
import { Records } from './machines/record.ts'
import { Movers } from './mover/movers.ts'
import { endOrphans } from './orphans.ts'
import { AgentServer, type Listening } from './server.ts'

export type AgentOptions = {
  readonly name: string
  /** The agent's own: machines' records and consoles, epochs. Survives reboots. */
  readonly stateDirectory: string
  /** Sockets and notes about processes; short (its sockets' paths end at 107 bytes), gone after a reboot. */
  readonly runDirectory: string
  readonly pools: readonly { readonly name: string; readonly directory: string }[]
  /** Who QEMU runs as; null where the agent is not root and QEMU runs as the agent does. */
  readonly qemuUser: QemuUser
  /** Who reads files that strangers sent; null as above. */
  readonly lowUser: QemuUser
  /** `auto`: KVM if it works. */
  readonly accelerator: 'auto' | 'kvm' | 'tcg'
  readonly listening: readonly Listening[]
  readonly resumeFreeBytes: Bytes
  /** The program that moves data to and from vaults, a process a job. */
  readonly mover: string
  readonly log: Logger
}

export type RunningAgent = {
  readonly addresses: readonly string[]
  readonly hello: Omit<HostHello, 'highestEpoch'>
  readonly close: () => Promise<void>
}

/** `<run>/m/<22 characters>/control`, within what a socket's path may have. */
const longestRunDirectory = 107 - '/m/'.length - 22 - '/control'.length

export async function startAgent(options: AgentOptions): Promise<RunningAgent> {
  const { log } = options
  if (Buffer.byteLength(options.runDirectory) > longestRunDirectory)
    throw refuse.setup({
      why: `The runtime directory's path is longer than ${longestRunDirectory} bytes: ${options.runDirectory}`,
    })
  await mkdir(options.stateDirectory, { recursive: true, mode: 0o711 })
  await mkdir(options.runDirectory, { recursive: true, mode: 0o700 })
  const bootId = await bootIdOf()
  const chosen = await acceleratorFor(options, bootId)
  log.info(chosen, 'accelerator chosen')
  const pools = await openPools(options)
  const events = new EventLog()
  const fences = await Fences.open(join(options.stateDirectory, 'epochs'))
  const machines = await Machines.open({
    accelerator: chosen.accelerator,
    kvmGroup: chosen.kvmGroup,
    user: options.qemuUser,
    runDirectory: options.runDirectory,
    bootId,
    pools,
    records: new Records(options.stateDirectory),
    events,
    log,
    resumeFreeBytes: options.resumeFreeBytes,
  })
  const movers = await openMovers(options, pools)
  const hello = await helloOf(options, chosen.accelerator, bootId, pools)
  const servers: AgentServer[] = []
  const addresses: string[] = []
  for (const listening of options.listening) {
    const server = new AgentServer({
      machines,
      movers,
      pools,
      fences,
      events,
      hello: () => ({ ...hello, highestEpoch: fences.highest() }),
      log,
    })
    servers.push(server)
    addresses.push(await server.listen(listening))
  }
  log.info({ addresses, ...hello }, 'agent ready')
  const close = async (): Promise<void> => {
    await Promise.all(servers.map((server) => server.close()))
    machines.close()
    await Promise.all([...pools.values()].map(closePool))
    await fences.close()
  }
  return { addresses, hello, close }
}

async function acceleratorFor({ accelerator, stateDirectory }: AgentOptions, bootId: string): Promise<Choice> {
  if (accelerator === 'tcg') return { accelerator, kvmGroup: null, why: 'it was configured' }
  const found = await chooseAccelerator(join(stateDirectory, 'accelerator.json'), bootId)
  if (accelerator === 'kvm' && found.accelerator !== 'kvm') throw refuse.setup({ why: `KVM was asked for, but ${found.why}.` })
  return found
}

type Closable = OpenPool & { readonly close: () => Promise<void> }

async function openPools(options: AgentOptions): Promise<Map<PoolId, Closable>> {
  const pools = new Map<PoolId, Closable>()
  for (const { name, directory } of options.pools) {
    await mkdir(directory, { recursive: true, mode: 0o755 })
    const identity: { id?: PoolId } = JSON.parse((await readIfThere(join(directory, 'pool.json'))) ?? '{}')
    const id = identity.id ?? newId<PoolId>()
    const runtime = options.runDirectory
    const driver = await Qcow2Driver.open(id, { directory, runtime, diskOwner: options.qemuUser, lowUser: options.lowUser })
    const handle = await open(directory)
    const close = async (): Promise<void> => {
      await driver.close()
      await handle.close()
    }
    const { allowWriting, freeze, beginMerge, finishMerge } = driver
    pools.set(id, { id, name, directory, driver, allowWriting, freeze, beginMerge, finishMerge, handle, close })
  }
  return pools
}

const closePool = ({ close }: Closable): Promise<void> => close()

/** A merge may hold a layer for minutes; whoever waits for it in vain asks again later. */
const layersPatienceMs = 60_000
/** A mover speaks every second; on a machine that is out of memory it may be held up for long. */
const moverSilenceMs = 120_000

async function openMovers(options: AgentOptions, pools: ReadonlyMap<PoolId, OpenPool>): Promise<Movers> {
  const { runDirectory, stateDirectory, qemuUser, lowUser, log, mover: program } = options
  await endOrphans(exportsDirectory(runDirectory), log)
  const waits = { patienceMs: layersPatienceMs, silenceMs: moverSilenceMs }
  return new Movers({ runDirectory, stateDirectory, qemuUser, lowUser, log, program, pools, ...waits })
}

async function helloOf(
  { name }: AgentOptions,
  accelerator: 'kvm' | 'tcg',
  bootId: string,
  pools: ReadonlyMap<PoolId, OpenPool>,
): Promise<Omit<HostHello, 'highestEpoch'>> {
  const { stdout } = await promisify(execFile)('qemu-system-x86_64', ['--version'], { timeout: 10_000 })
  const qemuVersion = /version (\d+\.\d+\.\d+)/.exec(stdout)?.[1] ?? 'unknown'
  const facts = { qemuVersion, accelerator, bootId, vcpus: cpus().length, memoryMib: Math.floor(totalmem() / 2 ** 20) }
  const shown = [...pools.values()].map(({ id, name: pool, driver }) => ({
    id,
    name: pool,
    kind: driver.kind,
    abilities: driver.abilities,
  }))
  return { name, facts, pools: shown }
}
