/** Stands in for the mover: what it does is the last part of the directory in which the vault is said to lie. */
import { setTimeout as wait } from 'node:timers/promises'
import type { Job } from '../../../src/agent/mover/job.ts'
import { serveJob } from '../../../src/agent/mover/serve-job.ts'
import { refuse } from '../../../src/domain/refusals.ts'

const places: Readonly<Record<string, () => Promise<unknown>>> = {
  answers: async () => ({ freeBytes: 7, sharesDiskWith: [] }),
  refuses: async () => {
    throw refuse.backupDamaged({ object: 'packs/1.pack', backups: ['a', 'b'] })
  },
  'refuses-late': async () => {
    await wait(3_000)
    throw refuse.backupDamaged({ object: 'packs/1.pack', backups: ['a', 'b'] })
  },
  'does-nothing': async () => undefined,
  fails: async () => {
    throw new Error('a defect of the mover')
  },
  ends: async () => process.exit(3),
  works: () => wait(600_000),
  hangs: async () => {
    for (;;);
  },
}

const directoryOf = ({ args: [given] }: Job): string => {
  const found = given as { place?: { directory: string }; directory?: string }
  return found.place?.directory ?? found.directory ?? ''
}

await serveJob(async (job, report) => {
  report({ doneBytes: 1, totalBytes: 3, bytesPerSecond: 2 })
  return await places[directoryOf(job).split('/').at(-1) ?? '']?.()
})
