/**
 * Claims operations that are due and runs them, several at once. Any number of workers may share one database; killing one
 * loses nothing, for its operations are claimed again when their leases end.
 */
import type { OperationId, RequestId } from '../../domain/ids.ts'
import type { Clock } from '../../ports/clock.ts'
import { type Claim, type Claims, LeaseLost } from '../../ports/journal.ts'
import type { Log } from '../../ports/log.ts'
import { execute } from './execute.ts'
import { keepLease, type Lease } from './lease.ts'
import { type AnySaga, defaultPace, type Pace } from './run.ts'

/** What calls into the world are fenced with. */
export type Ticket = {
  readonly operation: OperationId
  readonly epoch: number
  readonly requestId: RequestId
  /** Agents remember the highest epoch of each and refuse lower ones: what the operation has locked. */
  readonly resourceOfFence: string
}

export type WorkerOptions = {
  readonly claims: Claims
  readonly sagas: Readonly<Record<string, AnySaga>>
  readonly worldFor: (ticket: Ticket) => unknown
  readonly clock: Clock
  readonly log: Log
  /**
   * Operations run at once. They wait for others most of the time, and some for hours (a backup that is being written), so there must be
   * room for a rollback beside them; what is heavy on a host is bounded there.
   */
  readonly concurrency?: number
  /** How often to look for what nobody announced: leases that ended, back-offs that are over. */
  readonly pollMs?: number
  readonly pace?: Pace
}

export interface Worker {
  /** Ends at step boundaries; after the grace time effects are aborted too. What was not ended is free to be claimed. */
  stop(graceMs: number): Promise<void>
}

const abortedEffectsMayTakeMs = 2_000

export function startWorker(options: WorkerOptions): Worker {
  const { claims, clock, log, concurrency = 64, pollMs = 1_000 } = options
  const halt = new AbortController()
  const stop = new AbortController()
  const running = new Map<Promise<void>, Lease>()
  const known = Object.values(options.sagas).map(({ name, version }) => ({ name, version }))
  let wake = new AbortController()
  const unsubscribe = claims.onDue(() => {
    wake.abort()
    for (const lease of running.values()) void lease.look()
  })

  const start = (claim: Claim, since: number): void => {
    const lease = keepLease(claims, claim, clock, log, since)
    const run = runClaim(options, claim, lease, halt.signal, stop.signal).finally(() => {
      lease.end()
      running.delete(run)
      wake.abort()
    })
    running.set(run, lease)
  }

  const claimSome = async (): Promise<boolean> => {
    const free = concurrency - running.size
    if (free <= 0) return false
    const since = clock.monotonicMs()
    const claimed = await claims.claim(known, free).catch((error: unknown) => {
      log.warn({ err: error }, 'no operation could be claimed')
      return []
    })
    for (const claim of claimed) start(claim, since)
    return claimed.length === free
  }

  const loop = async (): Promise<void> => {
    while (!halt.signal.aborted) {
      wake = new AbortController()
      if (await claimSome()) continue
      await clock.wait(pollMs, AbortSignal.any([wake.signal, halt.signal])).catch(() => {})
    }
  }

  const looping = loop()
  return {
    async stop(graceMs) {
      unsubscribe()
      halt.abort(new Stopped())
      await looping
      await settledWithin(clock, [...running.keys()], graceMs)
      stop.abort(new Stopped())
      await settledWithin(clock, [...running.keys()], abortedEffectsMayTakeMs)
    },
  }
}

class Stopped extends Error {
  override readonly name = 'Stopped'
  constructor() {
    super('this controller shuts down')
  }
}

async function runClaim(
  options: WorkerOptions,
  claim: Claim,
  lease: Lease,
  halt: AbortSignal,
  stop: AbortSignal,
): Promise<void> {
  const { claims, clock, log, sagas, worldFor, pace = defaultPace } = options
  const { operation, kind, epoch, requestId, resource, version } = claim
  const facts = { operation, kind, epoch, requestId }
  try {
    const saga = Object.values(sagas).find((saga) => saga.name === kind && saga.version === version)
    if (!saga) throw new Error(`no saga ${kind} of version ${version}`)
    const resourceOfFence = resource ?? `operation:${operation}`
    const ending = await execute({
      saga,
      claim,
      clock,
      log,
      pace,
      halt,
      journal: claims.journalOf(claim),
      world: worldFor({ operation, epoch, requestId, resourceOfFence }),
      stop: AbortSignal.any([stop, lease.lost]),
      cancel: lease.cancelled,
    })
    log.info({ ...facts, ending }, 'operation came to rest')
  } catch (error) {
    if (error instanceof LeaseLost) return log.warn(facts, 'operation was taken over by another worker')
    if (error instanceof Stopped) return await claims.release(claim).catch(() => {})
    log.error({ ...facts, err: error }, 'run of an operation ended early; it is taken up again when its lease ends')
  }
}

async function settledWithin(clock: Clock, runs: readonly Promise<void>[], ms: number): Promise<void> {
  const enough = new AbortController()
  const all = Promise.allSettled(runs).then(() => enough.abort())
  await Promise.race([all, clock.wait(ms, enough.signal).catch(() => {})])
  enough.abort()
}
