/** What it takes to reach a vault. The key is opened for each call and kept nowhere: neither in params nor in the journal. */
import type { Bytes, VaultId } from '../../domain/ids.ts'
import { refuse } from '../../domain/refusals.ts'
import type { MoveProgress, Report, VaultAccess } from '../../ports/vault-mover.ts'
import type { World } from '../../ports/world.ts'

/** What a vault's key is sealed for: no other secret can be put in its place. */
export const keyContext = (vault: VaultId): string => `The key of vault ${vault}`

export async function accessOf({ db, secrets }: Pick<World, 'db' | 'secrets'>, id: VaultId): Promise<VaultAccess> {
  const row = await db.selectFrom('vaults').selectAll().where('id', '=', id).executeTakeFirst()
  if (!row) throw refuse.notFound({ what: 'Vault', id })
  return {
    vault: id,
    place: row.place,
    key: secrets.open(row.sealed_key, keyContext(id)).toString('base64'),
    bytesPerSecond: row.bytes_per_second,
    parallel: row.parallel,
  }
}

/** Events need not come faster than a person reads. */
const everyMs = 1_000

/**
 * Tells how far a move of data is: bytes, rate, and how long it will still take. What has not moved is not told again, so that
 * a move that hangs is seen to hang.
 */
export function progressOf(
  clock: World['clock'],
  progress: (data: { doneBytes: Bytes; totalBytes: Bytes; bytesPerSecond: number; remainingSeconds: number | null }) => void,
): Report {
  let toldAt = Number.NEGATIVE_INFINITY
  let told: Bytes | null = null
  return (news) => {
    const now = clock.monotonicMs()
    const isLast = news.doneBytes >= news.totalBytes
    if (news.doneBytes === told || (now - toldAt < everyMs && !isLast)) return
    toldAt = now
    told = news.doneBytes
    progress({ ...news, remainingSeconds: remaining(news) })
  }
}

const remaining = ({ doneBytes, totalBytes, bytesPerSecond }: MoveProgress): number | null =>
  bytesPerSecond > 0 ? Math.ceil(Math.max(0, totalBytes - doneBytes) / bytesPerSecond) : null
