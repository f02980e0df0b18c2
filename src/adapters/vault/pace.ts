/** How fast it may go, and how far it is. */
import { setTimeout as wait } from 'node:timers/promises'
import type { Bytes } from '../../domain/ids.ts'
import type { Report } from '../../ports/vault-mover.ts'

/** A bucket that holds what may be moved in half a second. */
export class Throttle {
  readonly #bytesPerSecond: number | null
  #freeAt = performance.now()

  /** Null: as fast as it goes. */
  constructor(bytesPerSecond: number | null) {
    this.#bytesPerSecond = bytesPerSecond
  }

  /** Resolves when so many bytes more may be moved. */
  async take(bytes: Bytes, signal?: AbortSignal): Promise<void> {
    if (this.#bytesPerSecond === null) return
    const now = performance.now()
    const begin = Math.max(this.#freeAt, now - 500)
    this.#freeAt = begin + (bytes / this.#bytesPerSecond) * 1000
    if (begin > now) await wait(begin - now, undefined, signal === undefined ? {} : { signal })
  }
}

const reportEveryMs = 250
/** The rate is that of the last so many milliseconds. */
const rateOverMs = 5000

/** Tells how far it is, at most a few times a second. */
export class Meter {
  readonly #report: Report | undefined
  readonly #moments: { readonly at: number; readonly done: number }[] = [{ at: performance.now(), done: 0 }]
  #toldAt = 0
  #done = 0
  #total = 0

  constructor(report: Report | undefined) {
    this.#report = report
  }

  expect(bytes: Bytes): void {
    this.#total += bytes
  }

  add(bytes: Bytes): void {
    this.#done += bytes
    if (performance.now() - this.#toldAt >= reportEveryMs) this.tell()
  }

  tell(): void {
    const now = performance.now()
    this.#toldAt = now
    this.#moments.push({ at: now, done: this.#done })
    while (this.#moments.length > 2 && now - (this.#moments[0]?.at ?? now) > rateOverMs) this.#moments.shift()
    const since = this.#moments[0] ?? { at: now, done: this.#done }
    const bytesPerSecond = now > since.at ? Math.round(((this.#done - since.done) / (now - since.at)) * 1000) : 0
    this.#report?.({ doneBytes: this.#done, totalBytes: Math.max(this.#total, this.#done), bytesPerSecond })
  }
}
