/** The calls about vaults, as the agent carries them out: disks are served here, everything else is done in a process of its own. */
import { cpus } from 'node:os'
import type { PoolId } from '../../domain/ids.ts'
import { refuse } from '../../domain/refusals.ts'
import type { MoveProgress, SourcePoint, VaultPlace } from '../../ports/vault-mover.ts'
import { type ExportsEnvironment, exportsDirectory, serveLayer, servePoint } from '../exports/exports.ts'
import type { OpenPool } from '../machines/environment.ts'
import { type MoverCall, moverCalls } from '../protocol.ts'
import type { Job } from './job.ts'
import { requireFreePlace } from './place.ts'
import { runJob } from './process.ts'
import { Turns } from './turns.ts'

export type MoversEnvironment = ExportsEnvironment & {
  readonly pools: ReadonlyMap<PoolId, OpenPool>
  /** The agent's own directories. */
  readonly stateDirectory: string
  readonly program: string
  readonly silenceMs: number
}

export type Telling = (progress: MoveProgress) => void

/** Those that move data: each takes a core and up to 256 MiB. */
const heavy: readonly MoverCall[] = ['writeBackup', 'restoreBackup', 'verify', 'sweepVolume']
const heavyAtOnce = Math.min(8, Math.max(2, Math.floor(cpus().length / 2)))

export class Movers {
  readonly #environment: MoversEnvironment
  readonly #turns = new Turns(heavyAtOnce)

  constructor(environment: MoversEnvironment) {
    this.#environment = environment
  }

  /** `args` were checked against the call's schema. When it has settled, nothing that belonged to it runs any more. */
  call(call: MoverCall, args: readonly unknown[], tell: Telling, signal: AbortSignal): Promise<unknown> {
    const place = placeOf(call, args)
    requireFreePlace(place.directory, this.#taken())
    const work = (): Promise<unknown> => this.#do(call, args, tell, signal)
    return heavy.includes(call) ? this.#turns.run(work, signal) : work()
  }

  #do(call: MoverCall, args: readonly unknown[], tell: Telling, signal: AbortSignal): Promise<unknown> {
    if (call === 'writeBackup') return this.#writeBackup(args, tell, signal)
    if (call === 'restoreBackup') return this.#restoreBackup(args, tell, signal)
    return this.#run({ call, args: [...args], source: null, target: null }, tell, signal)
  }

  async #writeBackup(args: readonly unknown[], tell: Telling, signal: AbortSignal): Promise<unknown> {
    const [, { source, previous }] = moverCalls.writeBackup.args.parse(args)
    const pool = this.#pool(source.pool)
    const before = formerPoint(source, previous?.point ?? null)
    const served = await servePoint(this.#environment, pool, source, before, signal)
    try {
      const { socket, to, from } = served
      const whyNot = previous?.point && before === null ? elsewhere : served.whyNot
      const job = { socket, sizeBytes: source.sizeBytes, to, from, whyNot }
      return await this.#run({ call: 'writeBackup', args: [...args], source: job, target: null }, tell, signal)
    } finally {
      await served.end()
    }
  }

  async #restoreBackup(args: readonly unknown[], tell: Telling, signal: AbortSignal): Promise<unknown> {
    const [, { target }] = moverCalls.restoreBackup.args.parse(args)
    const pool = this.#pool(target.pool)
    const served = await serveLayer(this.#environment, pool, target.layer, signal)
    try {
      const { socket, export: name } = served
      const job = { socket, export: name, pool: pool.name }
      return await this.#run({ call: 'restoreBackup', args: [...args], source: null, target: job }, tell, signal)
    } finally {
      await served.end()
    }
  }

  #run(job: Omit<Job, 'taken'>, tell: Telling, signal: AbortSignal): Promise<unknown> {
    const { program, runDirectory, log, silenceMs } = this.#environment
    const options = { program, worksFor: exportsDirectory(runDirectory), log, silenceMs }
    return runJob(options, { ...job, taken: this.#taken() }, tell, signal)
  }

  #taken(): Job['taken'] {
    const { pools, stateDirectory, runDirectory } = this.#environment
    return [
      ...[...pools.values()].map(({ directory, name }) => ({ directory, what: `pool '${name}'`, pool: name })),
      { directory: stateDirectory, what: "the agent's own directory", pool: null },
      { directory: runDirectory, what: "the agent's own directory", pool: null },
    ]
  }

  #pool(id: PoolId): OpenPool {
    const pool = this.#environment.pools.get(id)
    if (pool === undefined) throw refuse.notFound({ what: 'Pool', id })
    return pool
  }
}

const elsewhere = "the previous backup's point lies in another pool"

/** What changed since is told by layers, and so only within one pool. */
const formerPoint = (source: SourcePoint, before: SourcePoint | null): SourcePoint | null =>
  before?.pool === source.pool ? before : null

function placeOf(call: MoverCall, args: readonly unknown[]): VaultPlace {
  if (call === 'readIdentity') return moverCalls.readIdentity.args.parse(args)[0]
  return moverCalls.testVault.args.parse(args.slice(0, 1))[0].place
}
