/** What a new database needs before the first request: an identity of its own, a network, the first administrator. */
import { refuse } from '../domain/refusals.ts'
import type { Db } from '../ports/tables.ts'
import { ensureAdmin } from './identity/accounts.ts'

/** Each machine has this network to itself (user-mode networking), so every installation may use the same addresses. */
const network = { name: 'private', cidr: '10.20.0.0/16', gateway: '10.20.0.1' }

export async function bootstrap(db: Db, adminPassword: string | null): Promise<void> {
  await db.transaction().execute(async (tx) => {
    const known = await tx.selectFrom('installation').select('id').forUpdate().executeTakeFirst()
    if (!known) await tx.insertInto('installation').values({ id: crypto.randomUUID() }).execute()
    await tx
      .insertInto('networks')
      .values({ id: crypto.randomUUID(), subnet_id: crypto.randomUUID(), ...network })
      .onConflict((conflict) => conflict.column('name').doNothing())
      .execute()
  })
  const users = await db.selectFrom('users').select('id').limit(1).executeTakeFirst()
  if (users) return
  if (adminPassword === null)
    throw refuse.setup({
      why: 'The database has no user yet: give COMEBACK_ADMIN_PASSWORD (8 characters or more) at the first start.',
    })
  await ensureAdmin(db, adminPassword)
}
