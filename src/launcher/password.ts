/**
 * `npm run password`: gives `admin` another password and its rights back, for whoever is locked out: the one in
 * COMEBACK_ADMIN_PASSWORD, or one that is made. Needs no API and no old password, only the state directory.
 */
import { randomUUID } from 'node:crypto'
import { writeAudit } from '../adapters/database/audit.ts'
import { connect, database } from '../adapters/database/connect.ts'
import { resetAdmin } from '../app/identity/accounts.ts'
import { controllerConfig } from '../config.ts'
import { asId, type RequestId } from '../domain/ids.ts'
import { keepAdminPassword, newPassword, writeAccess } from './credentials.ts'
import { databaseUp } from './database.ts'
import { withLock } from './lock.ts'
import { preparePlaces } from './places.ts'
import { orExplain, say, step } from './say.ts'
import { urlOf } from './up.ts'

await orExplain(async () => {
  const controller = controllerConfig()
  const places = await preparePlaces(controller.state, controller.run)
  const password = controller.adminPassword ?? newPassword()
  await withLock(
    `launcher ${places.run}`,
    async () => {
      const { url } = await databaseUp(controller.databaseUrl, places)
      await step('Setting the password', () => setPassword(url, password))
      await keepAdminPassword(places.state, password)
      await writeAccess(places.state, { url: urlOf(controller), password, region: controller.region })
    },
    () => say('A start or stop of this state is under way; waiting for it.'),
  )
  say(`admin has a new password; it is in ${places.state}/admin-password, clouds.yaml and openrc. Its old tokens have ended.`)
})

async function setPassword(url: string, password: string): Promise<void> {
  const pool = connect(url)
  try {
    const db = database(pool)
    await resetAdmin(db, password)
    const origin = { requestId: asId<RequestId>(`req-${randomUUID()}`), userId: null, projectId: null }
    await writeAudit(db, { origin, action: 'launcher:password', target: 'admin', outcome: 'accepted', operation: null })
  } finally {
    await pool.end()
  }
}
