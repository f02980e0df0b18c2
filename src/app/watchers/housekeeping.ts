/** Throws away what is of no use to anybody any more: tokens that ended, uploads that nobody goes on with. */
import type { Db } from '../../ports/tables.ts'
import { forgetOldTokens } from '../identity/sessions.ts'
import { abandonOldUploads } from '../image-changes.ts'
import type { Watcher } from './loop.ts'

export const housekeepingWatcher = (db: Db, everyMs: number): Watcher => ({
  name: 'housekeeping',
  everyMs,
  look: async () => {
    await forgetOldTokens(db)
    await abandonOldUploads(db)
  },
})
