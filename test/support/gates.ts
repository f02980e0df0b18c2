/** Where a test holds things up until it opens. */
import type { Product } from './product.ts'

export type Gate = {
  /** How many wait there. */
  readonly waiting: () => number
  /** Lets all go on, and waits until everything that is going on has ended. */
  readonly open: () => Promise<void>
}

/** Holds what writes into vaults, reads from them, or sweeps them. Whoever is told to stop goes. */
export function vaultGate({ mover, operations }: Pick<Product, 'mover' | 'operations'>): Gate {
  const { promise, resolve } = Promise.withResolvers<void>()
  const before = mover.gate
  let waiting = 0
  mover.gate = async (_what, signal) => {
    waiting += 1
    const aborted = Promise.withResolvers<never>()
    signal?.addEventListener('abort', () => aborted.reject(signal.reason))
    await Promise.race([promise, aborted.promise])
  }
  return {
    waiting: () => waiting,
    open: async () => {
      mover.gate = before
      resolve()
      const going = await operations.list({ states: ['pending', 'running', 'undoing', 'stuck'], limit: 1000 })
      await Promise.all(going.map(({ id }) => operations.ended(id)))
    },
  }
}
