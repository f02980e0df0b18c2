import type { Clock } from '../../ports/clock.ts'

/** Seconds since it was made, to the millisecond. */
export const stopwatch = (clock: Clock): (() => number) => {
  const start = clock.monotonicMs()
  return () => Math.round(clock.monotonicMs() - start) / 1000
}
