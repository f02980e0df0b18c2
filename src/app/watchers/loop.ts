/** A watcher compares what is with what should be, again and again; it has no memory of its own. */
import type { Clock } from '../../ports/clock.ts'
import type { Log } from '../../ports/log.ts'

export type Watcher = {
  readonly name: string
  readonly everyMs: number
  /** Calls `soon` when there is more to do once what was begun has ended. */
  readonly look: (signal: AbortSignal, soon?: () => void) => Promise<void>
}

const soonMs = 1_000

/** A round that failed is tried again soon - a host may just be starting - and then less and less often, but not only after an hour. */
const retryMs = (failures: number): number => Math.min(10_000, 100 * 2 ** (failures - 1))

/** Runs each watcher in turn with itself, never twice at once; a failure is logged and the next round tries again. */
export async function runWatchers(watchers: readonly Watcher[], clock: Clock, log: Log, signal: AbortSignal): Promise<void> {
  await Promise.all(watchers.map((watcher) => run(watcher, clock, log, signal)))
}

async function run({ name, everyMs, look }: Watcher, clock: Clock, log: Log, signal: AbortSignal): Promise<void> {
  for (let failures = 0; !signal.aborted; ) {
    let pauseMs = everyMs
    try {
      await look(signal, () => {
        pauseMs = Math.min(everyMs, soonMs)
      })
      failures = 0
    } catch (error) {
      if (!signal.aborted) log.warn({ err: error, watcher: name }, 'watcher failed')
      pauseMs = Math.min(everyMs, retryMs(++failures))
    }
    await clock.wait(pauseMs, signal).catch(() => undefined)
  }
}
