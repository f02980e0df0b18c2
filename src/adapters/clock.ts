import { setTimeout as wait } from 'node:timers/promises'
import type { Clock } from '../ports/clock.ts'

export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  now: () => new Date(),
  wait: (ms, signal) => wait(ms, undefined, signal ? { signal } : {}),
}
