import { setTimeout as wait } from 'node:timers/promises'
import type { Db, Tx } from '../../ports/tables.ts'
import { isConflict } from './failures.ts'

const attempts = 6

/** Runs a transaction, again when it lost against others (deadlock, serialization, a lock not had in time). */
export async function transact<Output>(db: Db, run: (tx: Tx) => Promise<Output>): Promise<Output> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await db.transaction().execute(run)
    } catch (error) {
      if (!isConflict(error) || attempt === attempts) throw error
    }
    await wait(5 * 2 ** attempt * Math.random())
  }
}
