/** What an agent that was killed has left running for jobs that nobody waits for any more. */
import { rm } from 'node:fs/promises'
import { orphansOf } from '../adapters/storage/orphans.ts'
import { goneWithin, killProcess } from '../adapters/storage/processes.ts'
import type { Log } from '../ports/log.ts'

/** A killed process is gone in a moment, unless the kernel is stuck in a file system that does not answer. */
const killedWithinMs = 10_000

/**
 * Ends them. One that cannot be ended keeps the locks of the layers it has open, so that nothing of theirs is done beside it; the
 * agent need not wait for it.
 */
export async function endOrphans(directory: string, log: Log): Promise<void> {
  const orphans = await orphansOf(directory)
  await Promise.all(
    orphans.map(async (mark) => {
      await killProcess(mark)
      const gone = await goneWithin(mark, killedWithinMs)
      log[gone ? 'info' : 'error'](
        mark,
        gone ? 'a process of a former agent was ended' : 'a process of a former agent does not end',
      )
    }),
  )
  await rm(directory, { recursive: true, force: true })
}
