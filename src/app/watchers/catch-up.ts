/**
 * Is this database older than a host? A host remembers the greatest epoch that it has obeyed, and each is drawn once: one that
 * this database has yet to draw means that it was restored from a copy, or is a new one. Then its operations belong to the past
 * and end here, unfinished; later ones draw greater epochs than the host has seen; and its pools are closed until they were read.
 */
import { sql } from 'kysely'
import type { Tx } from '../../ports/tables.ts'

/** Epochs drawn while we look must not be mistaken for newer ones: the sequence goes on well beyond them. */
const margin = 10_000

const problem = {
  code: 'restored',
  message: 'The database is an older copy, made while this operation ran. What it did since is asked of the pools.',
}

export async function catchUp(tx: Tx, highestEpoch: number): Promise<void> {
  const { rows } = await sql`
    select setval('epochs', ${highestEpoch}::bigint + ${margin}) from epochs where last_value < ${highestEpoch}`.execute(tx)
  if (rows.length === 0) return
  await tx.updateTable('pools').set({ ahead_since: new Date() }).execute()
  await tx.updateTable('volumes').set({ left_clean: false }).where('left_clean', '=', true).execute()
  await tx
    .updateTable('operations')
    .set({ state: 'quarantined', problem: JSON.stringify(problem), ended_at: new Date(), lease_owner: null, lease_until: null })
    .where('ended_at', 'is', null)
    .execute()
  await tx.deleteFrom('locks').execute()
}
