/** A watcher compares what is with what should be, again and again; it has no memory of its own. */
import type { Clock } from '../../ports/clock.ts'
import type { Log } from '../../ports/log.ts'

export type Watcher = { readonly name: string; readonly everyMs: number; readonly look: (signal: AbortSignal) => Promise<void> }

/** A round that failed is not left for an hour. */
const retryMs = 10_000

/** Runs each watcher in turn with itself, never twice at once; a failure is logged and the next round tries again. */
export async function runWatchers(watchers: readonly Watcher[], clock: Clock, log: Log, signal: AbortSignal): Promise<void> {
  await Promise.all(watchers.map((watcher) => run(watcher, clock, log, signal)))
}

async function run({ name, everyMs, look }: Watcher, clock: Clock, log: Log, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const failed = await look(signal).then(
      () => false,
      (error: unknown) => {
        if (!signal.aborted) log.warn({ err: error, watcher: name }, 'watcher failed')
        return true
      },
    )
    await clock.wait(failed ? Math.min(everyMs, retryMs) : everyMs, signal).catch(() => undefined)
  }
}
