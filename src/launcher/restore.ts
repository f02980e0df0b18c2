/**
 * `npm run restore`: lists the dumps of the database that lie in the pool. `npm run restore -- <name or path>` puts one in place
 * of the present database. The controller is stopped first; agent and guests stay as they are.
 */
import { readdir, stat } from 'node:fs/promises'
import { isAbsolute, join, resolve } from 'node:path'
import { ensureDatabase, ensurePostgres } from '../adapters/database/private-postgres.ts'
import { restoreDatabase } from '../adapters/database/restore.ts'
import { agentConfig, controllerConfig } from '../config.ts'
import { refuse } from '../domain/refusals.ts'
import { privatePostgres } from './database.ts'
import { withLock } from './lock.ts'
import { type Places, preparePlaces } from './places.ts'
import { findService, stopProcess } from './processes.ts'
import { orExplain, say, step } from './say.ts'

const controller = controllerConfig()
const dumps = join(agentConfig().pool.directory, 'database')

async function list(): Promise<void> {
  const names = (await readdir(dumps).catch(() => [])).filter((name) => name.endsWith('.dump')).sort()
  if (names.length === 0) return say(`There are no dumps in ${dumps}.`)
  process.stdout.write(`Dumps in ${dumps}, oldest first:\n${names.map((name) => `  ${name}\n`).join('')}`)
  say(`\nTo put one in place of the present database: npm run restore -- ${names.at(-1)}`)
}

async function restore(file: string): Promise<void> {
  if (!(await stat(file).catch(() => null)))
    throw refuse.setup({ why: `There is no dump ${file}. 'npm run restore' lists those in the pool.` })
  const places = await preparePlaces(controller.state, controller.run)
  const { interrupted } = await withLock(
    `launcher ${places.run}`,
    async () => {
      const running = await findService('controller', places.run)
      if (running) await step('Stopping the controller', () => stopProcess(running, 20_000))
      const url = controller.databaseUrl ?? (await step('Starting PostgreSQL', () => ownDatabase(places)))
      return await step('Restoring the database', () => restoreDatabase(url, file))
    },
    () => say('Another start or stop of this state is under way; waiting for it.'),
  )
  process.stdout.write(`The database is now that of ${file}.\n`)
  if (interrupted > 0) say(`Operations that ran when it was made, and are not taken up again: ${interrupted}.`)
  say(`
The disks have gone on since. Bring the database forward to them before anything else:
  npm start
  npm run comeback -- recover --from-pools`)
}

async function ownDatabase(places: Places): Promise<string> {
  const postgres = privatePostgres(places)
  await ensurePostgres(postgres)
  return await ensureDatabase(postgres, 'comeback')
}

await orExplain(async () => {
  const [name] = process.argv.slice(2)
  if (name === undefined) return await list()
  const inPool = join(dumps, name)
  const isThere = !isAbsolute(name) && (await stat(inPool).catch(() => null))
  await restore(isThere ? inPool : resolve(name))
})
