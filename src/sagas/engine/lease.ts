import type { Clock } from '../../ports/clock.ts'
import { type Claim, type Claims, LeaseLost } from '../../ports/journal.ts'
import type { Log } from '../../ports/log.ts'

export interface Lease {
  /** Aborted when another may own the operation: refused, or not renewed in time by a clock that never jumps. */
  readonly lost: AbortSignal
  /** Aborted when the operation was asked to stop and go back. */
  readonly cancelled: AbortSignal
  /** Asks the database now, not only when the next renewal is due. */
  readonly look: () => Promise<void>
  readonly end: () => void
}

/** Renews a claim's lease until told to end. `since`: monotonic time at which the claim was asked for. */
export function keepLease(claims: Claims, claim: Claim, clock: Clock, log: Log, since: number): Lease {
  const lost = new AbortController()
  const cancelled = new AbortController()
  const ended = new AbortController()
  const facts = { operation: claim.operation, requestId: claim.requestId, epoch: claim.epoch }
  let heldUntil = since + claims.leaseMs
  if (claim.cancelRequested) cancelled.abort()

  const look = async (): Promise<void> => {
    const asked = clock.monotonicMs()
    try {
      const answer = await claims.renew(claim)
      if (ended.signal.aborted) return
      if (!answer) return lost.abort(new LeaseLost(claim.operation, claim.epoch))
      heldUntil = Math.max(heldUntil, asked + claims.leaseMs)
      if (answer.cancelRequested) cancelled.abort()
    } catch (error) {
      log.warn({ ...facts, err: error }, 'lease could not be renewed')
    }
  }

  const keep = async (): Promise<void> => {
    const over = AbortSignal.any([ended.signal, lost.signal])
    while (!over.aborted) {
      await clock.wait(claims.leaseMs / 3, over).catch(() => {})
      if (over.aborted) return
      void look()
      if (clock.monotonicMs() >= heldUntil) lost.abort(new LeaseLost(claim.operation, claim.epoch))
    }
  }

  void keep()
  return { lost: lost.signal, cancelled: cancelled.signal, look, end: () => ended.abort() }
}
