import { sql } from 'kysely'
import type { VaultId, VolumeId } from '../../domain/ids.ts'
import type { Tx } from '../../ports/tables.ts'

/** Something of the volume in the vault may not be needed any more: a sweep is to look. */
export async function sweepLater(tx: Tx, vault: VaultId, volume: VolumeId): Promise<void> {
  await tx
    .insertInto('sweeps')
    .values({ vault_id: vault, volume_id: volume })
    .onConflict((known) => known.columns(['vault_id', 'volume_id']).doUpdateSet({ due_at: sql`clock_timestamp()` }))
    .execute()
}
