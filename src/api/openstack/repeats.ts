/** Deleting again with the same Idempotency-Key is answered as it was the first time, though there is nothing left to find. */
import type { Caller } from '../../app/caller.ts'
import { asId, type Id, isUuid } from '../../domain/ids.ts'
import { Refusal } from '../../domain/refusals.ts'

/** The id of what was found; of what is gone, if the request may be one that made it go: its command knows. */
export async function evenIfGone<T extends Id<string>>(
  caller: Caller,
  id: string,
  found: Promise<{ readonly id: T }>,
): Promise<T> {
  try {
    return (await found).id
  } catch (error) {
    const gone = error instanceof Refusal && error.kind === 'notFound'
    if (gone && caller.idempotencyKey !== undefined && isUuid(id)) return asId<T>(id)
    throw error
  }
}
