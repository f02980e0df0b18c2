/** Time as the core may know it. Durations are measured with `monotonicMs`; moments that are stored come from the database. */
export interface Clock {
  /** Milliseconds of a clock that never jumps. */
  monotonicMs(): number
  /** Wall clock, for what is shown and for names. */
  now(): Date
  /** Resolves after so many milliseconds, or rejects when aborted. */
  wait(ms: number, signal?: AbortSignal): Promise<void>
}
