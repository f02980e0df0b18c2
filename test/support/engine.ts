/** The engine as the composition root puts it together, over a test's own database, with the sagas and the world of the test. */
import { onTestFinished } from 'vitest'
import { systemClock } from '../../src/adapters/clock.ts'
import { createClaims } from '../../src/adapters/database/claims.ts'
import { type Listener, listen } from '../../src/adapters/database/listen.ts'
import { createOperations } from '../../src/adapters/database/operations.ts'
import { newId, type ProjectId, type UserId } from '../../src/domain/ids.ts'
import type { Origin } from '../../src/domain/operation.ts'
import type { Claims } from '../../src/ports/journal.ts'
import type { Operations } from '../../src/ports/operations.ts'
import type { AnySaga, Pace } from '../../src/sagas/engine/run.ts'
import { startWorker, type Worker, type WorkerOptions } from '../../src/sagas/engine/worker.ts'
import type { TestDatabase } from './database.ts'
import { quietLog } from './quiet-log.ts'

export const fastPace: Pace = { attempts: 3, finishAttempts: 6, waitMs: () => 5 }

export const someone = (more: Partial<Origin> = {}): Origin => ({
  requestId: newId(),
  userId: 'user' as UserId,
  projectId: 'project' as ProjectId,
  ...more,
})

type Wanted = Partial<Pick<WorkerOptions, 'worldFor' | 'concurrency' | 'pollMs' | 'pace'>> & {
  leaseMs?: number
  claims?: (claims: Claims) => Claims
}

export type Engine = {
  readonly operations: Operations
  readonly listener: Listener
  readonly log: ReturnType<typeof quietLog>
  /** Another controller on the same database. Stopped after the test. */
  readonly work: (wanted?: Wanted) => Worker
}

export function engineOn(database: TestDatabase, sagas: Readonly<Record<string, AnySaga>>): Engine {
  const { db, url } = database
  const ends: (() => Promise<void>)[] = []
  const listener = listen(url)
  ends.push(() => listener.close())
  const log = quietLog()
  const operations = createOperations({ db, listener, sagas })
  let workers = 0
  onTestFinished(async () => {
    for (const end of ends.splice(0).reverse()) await end()
  })
  return {
    operations,
    listener,
    log,
    work({ leaseMs = 30_000, claims = (same: Claims) => same, ...wanted } = {}) {
      const worker = startWorker({
        claims: claims(createClaims({ db, listener, owner: `worker ${++workers}`, leaseMs })),
        sagas,
        worldFor: () => ({}),
        clock: systemClock,
        log,
        pace: fastPace,
        pollMs: 50,
        ...wanted,
      })
      ends.push(() => worker.stop(200))
      return worker
    },
  }
}
