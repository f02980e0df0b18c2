/** Dumps the database into every pool, so that a pool alone brings back more than its volumes: names, projects, flavors, addresses. */
import type { PoolId } from '../../domain/ids.ts'
import type { Db } from '../../ports/tables.ts'
import type { Watcher } from './loop.ts'

export type DumpNeeds = {
  readonly db: Db
  /** The dump, as it is made. */
  readonly dump: (signal: AbortSignal) => AsyncIterable<Uint8Array>
  readonly store: (
    pool: PoolId,
    name: string,
    data: AsyncIterable<Uint8Array>,
    keep: number,
    signal: AbortSignal,
  ) => Promise<void>
}

/** A day of hourly ones. */
const kept = 24

export const dumpWatcher = (needs: DumpNeeds, everyMs: number): Watcher => ({
  name: 'dump',
  everyMs,
  look: async (signal) => {
    const pools = await needs.db.selectFrom('pools').select('id').execute()
    for (const { id } of pools) await needs.store(id, nameNow(), needs.dump(signal), kept, signal)
  },
})

const nameNow = (): string => `comeback-${new Date().toISOString().replace(/[-:]/g, '').replace(/\.\d+/, '')}.dump`
