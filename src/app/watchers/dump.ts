/** Dumps the database into every pool, so that a pool alone brings back more than its volumes: names, projects, flavors, addresses. */
import { sql } from 'kysely'
import type { PoolId } from '../../domain/ids.ts'
import type { Uploads } from '../../ports/host-agent.ts'
import type { StorageDriver } from '../../ports/storage-driver.ts'
import type { Db } from '../../ports/tables.ts'
import type { Watcher } from './loop.ts'

export type DumpNeeds = {
  readonly db: Db
  /** The dump, as it is made. */
  readonly dump: (signal: AbortSignal) => AsyncIterable<Uint8Array>
  readonly uploads: (pool: PoolId) => Uploads
  readonly storage: (pool: PoolId, epoch: number) => Pick<StorageDriver, 'keepDatabaseDump'>
}

/** A day of hourly ones. */
const kept = 24

export const dumpWatcher = (needs: DumpNeeds, everyMs: number): Watcher => ({
  name: 'dump',
  everyMs,
  look: async (signal) => {
    const pools = await needs.db.selectFrom('pools').select('id').execute()
    for (const { id } of pools) await dumpInto(needs, id, signal)
  },
})

async function dumpInto({ db, dump, uploads, storage }: DumpNeeds, pool: PoolId, signal: AbortSignal): Promise<void> {
  const name = `comeback-${new Date().toISOString().replace(/[-:]/g, '').replace(/\.\d+/, '')}.dump`
  await uploads(pool).upload(pool, name, dump(signal), signal)
  const { rows } = await sql<{ epoch: number }>`select nextval('epochs') as epoch`.execute(db)
  await storage(pool, rows[0]!.epoch).keepDatabaseDump(name, kept)
}
