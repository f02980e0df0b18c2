import { join } from 'node:path'
import { migrate } from '../adapters/database/migrate.ts'
import { assertSafeUrl } from '../adapters/database/postgres-settings.ts'
import { postmasterOf } from '../adapters/database/postmaster.ts'
import { ensureDatabase, ensurePostgres, type PrivatePostgres } from '../adapters/database/private-postgres.ts'
import type { Places } from './places.ts'
import { rotate } from './processes.ts'
import { step } from './say.ts'

export const privatePostgres = (places: Places): PrivatePostgres => ({
  dataDir: join(places.stateInside, 'postgres'),
  socketDir: join(places.run, 'postgres'),
  logFile: join(places.stateInside, 'log', 'postgres.log'),
})

/** The database, running and migrated: the external one if there is one, else our own. */
export async function databaseUp(external: string | null, places: Places): Promise<{ url: string; how: string }> {
  const { url, how } = await step('Starting PostgreSQL', async () => {
    if (external !== null) {
      await assertSafeUrl(external)
      return { url: external, how: 'external' }
    }
    const postgres = privatePostgres(places)
    if ((await postmasterOf(postgres.dataDir)) === null) await rotate(postgres.logFile)
    const started = await ensurePostgres(postgres)
    return { url: await ensureDatabase(postgres, 'comeback'), how: started }
  })
  const { applied } = await step('Bringing the database up to date', () => migrate(url))
  return { url, how: applied.length > 0 && how === 'started' ? `${how}, ${applied.length} migrations applied` : how }
}
