/**
 * Starts the sweeps of vaults that are due: after deletions and failed backups, and again until nothing is left over. They run in
 * the background and give way to backups; one that could not run, or was asked to stop, is due again later.
 */
import { sql } from 'kysely'
import type { VaultId, VolumeId } from '../../domain/ids.ts'
import { Refusal } from '../../domain/refusals.ts'
import type { Operations } from '../../ports/operations.ts'
import type { Db } from '../../ports/tables.ts'
import type { SweepVaultParams } from '../../sagas/sweep-vault.ts'
import { exclusive } from '../locks.ts'
import { moverHost } from '../vault-choice.ts'
import type { Watcher } from './loop.ts'
import { systemOrigin } from './machines.ts'

export type SweeperNeeds = {
  readonly db: Db
  readonly operations: Operations
  readonly hostSilentSeconds: number
  /** Between two looks at the same volume. */
  readonly againAfterSeconds: number
}

/** Sweeps read much of a vault: so many are begun at a time. */
const atOnce = 2

export const sweeperWatcher = (needs: SweeperNeeds, everyMs: number): Watcher => ({
  name: 'sweeper',
  everyMs,
  look: async () => {
    const { db } = needs
    const { going } = await db
      .selectFrom('operations')
      .select(({ fn }) => fn.countAll<number>().as('going'))
      .where('kind', '=', 'sweep-vault')
      .where('ended_at', 'is', null)
      .executeTakeFirstOrThrow()
    if (going >= atOnce) return
    const due = await db
      .selectFrom('sweeps')
      .selectAll()
      .where('due_at', '<=', sql<Date>`clock_timestamp()`)
      .orderBy('due_at')
      .limit(atOnce - going)
      .execute()
    for (const one of due) await begin(needs, one)
  },
})

async function begin(
  { db, operations, hostSilentSeconds, againAfterSeconds }: SweeperNeeds,
  { vault_id: vault, volume_id: volume }: { readonly vault_id: VaultId; readonly volume_id: VolumeId },
): Promise<void> {
  const again = sql<Date>`clock_timestamp() + make_interval(secs => ${againAfterSeconds})`
  const later = (on: Pick<Db, 'updateTable'>) =>
    on.updateTable('sweeps').set({ due_at: again }).where('vault_id', '=', vault).where('volume_id', '=', volume).execute()
  await operations
    .begin<SweepVaultParams>({
      kind: 'sweep-vault',
      origin: systemOrigin(),
      preemptible: true,
      plan: async (tx, take) => {
        await take(exclusive('archive', volume))
        const host = await moverHost(tx, { vault, silentSeconds: hostSilentSeconds })
        await later(tx)
        return { params: { vault, volume, host, againAfter: againAfterSeconds }, instance: null }
      },
    })
    .catch(async (error: unknown) => {
      if (!(error instanceof Refusal)) throw error
      await later(db)
    })
}
