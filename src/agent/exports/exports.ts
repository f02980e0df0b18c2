/**
 * Points and new layers of this host's pools, served over NBD for as long as a job needs them.
 *
 * A layer that is served is locked as any layer is that QEMU has open: nobody can write it, so it can neither take in another
 * layer nor be removed. The reverse holds too: layers that are just being merged cannot be served; that is waited for.
 */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { isFrozen } from '../../adapters/storage/qcow2/access.ts'
import { sync } from '../../adapters/storage/qcow2/durable.ts'
import { layerFile } from '../../adapters/storage/qcow2/pool-files.ts'
import { saysLocked } from '../../adapters/storage/qcow2/tool.ts'
import type { LayerId } from '../../domain/ids.ts'
import { refuse } from '../../domain/refusals.ts'
import type { Log } from '../../ports/log.ts'
import type { SourcePoint } from '../../ports/vault-mover.ts'
import type { OpenPool, QemuUser } from '../machines/environment.ts'
import { readOnlyChain, sharedLayers, writableLayer } from './nodes.ts'
import { DaemonEnded, type DaemonPlan, StorageDaemon } from './storage-daemon.ts'

export type ExportsEnvironment = {
  readonly runDirectory: string
  readonly qemuUser: QemuUser
  readonly lowUser: QemuUser
  readonly log: Log
  /** How long layers are waited for that somebody else has open. */
  readonly patienceMs: number
}

/** What is asked of a pool: its directory, and the same, open. */
export type ServedPool = Pick<OpenPool, 'directory' | 'handle'>

/** `above`: how many of a chain's uppermost layers the other chain does not have. */
export type ServedPoint = { readonly export: string; readonly above: number }

export type ServedSource = {
  readonly socket: string
  readonly to: ServedPoint
  readonly from: ServedPoint | null
  /** Why there is no `from` though one was asked for. */
  readonly whyNot: string | null
  readonly end: () => Promise<void>
}

export type ServedTarget = {
  readonly socket: string
  readonly export: string
  /** Lets go of the layer. Resolves when its file and the file's name survive a power cut. */
  readonly end: () => Promise<void>
}

const firstLookMs = 50
const slowestLookMs = 1_000

/** All exports of a host work for this directory: a socket's path must be short. */
export const exportsDirectory = (runDirectory: string): string => join(runDirectory, 'x')

/** Serves what the point holds, and if asked what an earlier point held. That one being gone is said, not refused. */
export async function servePoint(
  environment: ExportsEnvironment,
  pool: ServedPool,
  { chain }: Pick<SourcePoint, 'chain'>,
  before: Pick<SourcePoint, 'chain'> | null,
  signal: AbortSignal,
): Promise<ServedSource> {
  const { runDirectory, log } = environment
  const to = readOnlyChain(chain, 'to')
  const toExport = { name: 'to', node: to.top, writable: false }
  const plan = (nodes: readonly object[], exports: DaemonPlan['exports']) => async (): Promise<DaemonPlan> => ({
    directory: join(exportsDirectory(runDirectory), randomBytes(9).toString('base64url')),
    worksFor: exportsDirectory(runDirectory),
    user: await readerOf(environment, pool, [...chain, ...(before?.chain ?? [])]),
    pool: pool.handle,
    nodes,
    exports,
  })
  const servedWith = (daemon: StorageDaemon, from: ServedPoint | null, whyNot: string | null): ServedSource => ({
    socket: daemon.socket,
    to: { export: toExport.name, above: chain.length - (before === null ? 0 : sharedLayers(chain, before.chain)) },
    from,
    whyNot,
    end: () => daemon.end(),
  })
  if (before !== null) {
    const from = readOnlyChain(before.chain, 'from')
    const exports = [toExport, { name: 'from', node: from.top, writable: false }]
    try {
      const daemon = await patiently(environment, plan([...to.nodes, ...from.nodes], exports), signal)
      return servedWith(daemon, { export: 'from', above: before.chain.length - sharedLayers(chain, before.chain) }, null)
    } catch (error) {
      if (!(error instanceof DaemonEnded) || saysLocked(error.said)) throw refusalOf(error, log)
      log.warn({ err: error }, 'the former point cannot be opened')
    }
  }
  try {
    const whyNot = before === null ? null : "the previous backup's point cannot be opened any more"
    return servedWith(await patiently(environment, plan(to.nodes, [toExport]), signal), null, whyNot)
  } catch (error) {
    throw refusalOf(error, log)
  }
}

/** Serves a layer for writing, to nobody else. */
export async function serveLayer(
  environment: ExportsEnvironment,
  pool: ServedPool,
  layer: LayerId,
  signal: AbortSignal,
): Promise<ServedTarget> {
  const exports = [{ name: 'layer', node: 'layer', writable: true }]
  const directory = exportsDirectory(environment.runDirectory)
  const plan: DaemonPlan = {
    directory: join(directory, randomBytes(9).toString('base64url')),
    worksFor: directory,
    user: environment.qemuUser,
    pool: pool.handle,
    nodes: [writableLayer(layer, 'layer')],
    exports,
  }
  try {
    const daemon = await patiently(environment, async () => plan, signal)
    const end = async (): Promise<void> => {
      await daemon.end()
      await sync(pathOf(pool.directory, layer))
      await sync(join(pool.directory, 'layers'))
    }
    return { socket: daemon.socket, export: 'layer', end }
  } catch (error) {
    throw refusalOf(error, environment.log)
  }
}

/**
 * Frozen layers can be read by QEMU's group, and heads only by its user: who only reads points needs no more than the group. A
 * merge that was refused or cut short has left a layer as a head's until it is repeated.
 */
async function readerOf(
  { qemuUser, lowUser }: ExportsEnvironment,
  { directory }: ServedPool,
  layers: readonly LayerId[],
): Promise<QemuUser> {
  if (qemuUser === null || lowUser === null) return qemuUser
  const frozen = await Promise.all(layers.map((layer) => isFrozen(pathOf(directory, layer)).catch(() => true)))
  return frozen.every((one) => one) ? { uid: lowUser.uid, gid: qemuUser.gid } : qemuUser
}

const pathOf = (directory: string, layer: LayerId): string => join(directory, 'layers', layerFile(layer))

/** `plan` is asked before each try: what a merge has done with a layer meanwhile may ask for another one. */
async function patiently(
  { patienceMs }: ExportsEnvironment,
  plan: () => Promise<DaemonPlan>,
  signal: AbortSignal,
): Promise<StorageDaemon> {
  const until = performance.now() + patienceMs
  for (let lookMs = firstLookMs; ; lookMs = Math.min(2 * lookMs, slowestLookMs)) {
    signal.throwIfAborted()
    try {
      return await StorageDaemon.start(await plan())
    } catch (error) {
      if (!(error instanceof DaemonEnded) || !saysLocked(error.said) || performance.now() >= until) throw error
      await pause(lookMs, undefined, { signal }).catch(() => undefined)
    }
  }
}

function refusalOf(error: unknown, log: Log): unknown {
  if (!(error instanceof DaemonEnded)) return error
  log.warn({ err: error }, 'layers cannot be served')
  if (saysLocked(error.said)) return refuse.layersBusy()
  const why = /Could not open .*: (No such file or directory|Permission denied)/.exec(error.said)?.[1]
  return refuse.hostFailure({ what: why === undefined ? 'a disk could not be opened' : `a layer could not be opened (${why})` })
}
