/** `npm run restore -- DUMP`: an older copy of the database takes the present one's place, while nothing of ours uses it. */
import { access } from 'node:fs/promises'
import { resolve } from 'node:path'
import { restoreDatabase } from '../adapters/database/restore.ts'
import { controllerConfig } from '../config.ts'
import { refuse } from '../domain/refusals.ts'
import { databaseUp } from './database.ts'
import { withLock } from './lock.ts'
import { preparePlaces } from './places.ts'
import { findService } from './processes.ts'
import { orExplain, say, step } from './say.ts'

await orExplain(async () => {
  const [dump] = process.argv.slice(2)
  if (dump === undefined) throw refuse.setup({ why: 'usage: npm run restore -- DUMP   (dumps lie in the pool, in `database`)' })
  const file = resolve(dump)
  await access(file).catch(() => {
    throw refuse.setup({ why: `There is no file ${file}.` })
  })
  const controller = controllerConfig()
  const places = await preparePlaces(controller.state, controller.run)
  await withLock(`launcher ${places.run}`, async () => {
    if (await findService('controller', places.run)) {
      throw refuse.setup({ why: "The controller is running and uses the database. Run 'npm run down' first." })
    }
    const { url } = await databaseUp(controller.databaseUrl, places)
    const { interrupted } = await step('Restoring the database', () => restoreDatabase(url, file))
    say(`Restored. ${interrupted} operations were under way when this copy was made; they end as quarantined.`)
    say("Next: npm start, then 'npm run comeback -- recover --from-pools', which asks the pools what is true by now.")
  })
})
