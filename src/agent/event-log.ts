/**
 * Events for the controller. They are kept in memory: what matters lies in the machines' records, and a controller that has
 * missed some is told so and looks. Numbers begin at the clock, so that they grow over restarts of the agent.
 */
import type { HostEvent } from '../ports/host-agent.ts'

type WithoutNumber<Event> = Event extends unknown ? Omit<Event, 'seq' | 'at'> : never

/** A host with hundreds of machines that all die at once still fits. */
const kept = 2_000

export class EventLog {
  #events: HostEvent[] = []
  #first: number
  #next: number
  #wake = Promise.withResolvers<void>()

  constructor(startAt: number = Date.now() * 1000) {
    this.#first = this.#next = startAt
  }

  append(event: WithoutNumber<HostEvent>): void {
    this.#events.push({ ...event, seq: this.#next++, at: new Date().toISOString() })
    if (this.#events.length > kept) this.#first = (this.#events.shift()?.seq ?? this.#first) + 1
    this.#stir()
  }

  /** Events after that number, then new ones; first `resync` if some in between are not kept any more. */
  async *after(seq: number, signal: AbortSignal): AsyncGenerator<HostEvent> {
    signal.addEventListener('abort', () => this.#stir(), { once: true })
    let last = seq
    if (last + 1 < this.#first) {
      last = this.#first - 1
      yield { type: 'resync', seq: last, at: new Date().toISOString() }
    }
    for (;;) {
      const wake = this.#wake.promise
      if (signal.aborted) return
      for (const event of this.#events.filter((one) => one.seq > last)) {
        last = event.seq
        yield event
      }
      await wake
    }
  }

  #stir(): void {
    this.#wake.resolve()
    this.#wake = Promise.withResolvers()
  }
}
