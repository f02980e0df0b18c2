/** One background job of QEMU's block layer, followed by its events from before it begins. */
import { z } from 'zod'
import type { LiveMachine } from './live.ts'

const jobs = z.array(z.object({ id: z.string(), status: z.string(), error: z.string().optional() }))

/** Once a job is asked to end, it does so as soon as what is in flight is written. */
const endMs = 60_000

export class BlockJob {
  readonly id: string
  readonly #live: LiveMachine
  readonly #off: () => void
  #status = 'created'
  #stir = Promise.withResolvers<void>()

  private constructor(live: LiveMachine, id: string) {
    this.id = id
    this.#live = live
    this.#off = live.events.onEvent(({ event, data }) => {
      if (event !== 'JOB_STATUS_CHANGE' || data['id'] !== id) return
      this.#status = String(data['status'])
      this.#stir.resolve()
      this.#stir = Promise.withResolvers()
    })
    void live.events.closed.then(() => this.#stir.resolve())
  }

  /** Starts the job so that it neither ends nor is forgotten by itself. */
  static async start(live: LiveMachine, id: string, command: string, args: object): Promise<BlockJob> {
    const job = new BlockJob(live, id)
    try {
      await live.control.execute(command, { 'job-id': id, 'auto-finalize': false, 'auto-dismiss': false, ...args })
      return job
    } catch (error) {
      job.#off()
      throw error
    }
  }

  /** Ends a job that a former agent left. */
  static async take(live: LiveMachine, id: string): Promise<void> {
    const job = new BlockJob(live, id)
    const found = await live.control.query('query-jobs', jobs)
    const status = found.find((one) => one.id === id)?.status
    if (status === undefined) return job.#off()
    job.#status = status
    await job.end()
  }

  /** Waits for one of these states; rejects with QEMU's reason when it fails before, and when aborted. */
  async reach(states: readonly string[], signal?: AbortSignal): Promise<void> {
    const wake = (): void => this.#stir.resolve()
    signal?.addEventListener('abort', wake)
    try {
      for (;;) {
        const stirred = this.#stir.promise
        signal?.throwIfAborted()
        if (states.includes(this.#status)) return
        if (this.#live.events.isClosed) throw new Error('the machine ended while its layers were merged')
        if (['aborting', 'concluded', 'null'].includes(this.#status))
          throw new Error(`the merge failed: ${await this.#error()}`)
        await stirred
      }
    } finally {
      signal?.removeEventListener('abort', wake)
    }
  }

  /** Asks for the next step and waits until the job has got there. */
  async advance(command: 'job-complete' | 'job-finalize', to: string): Promise<void> {
    await this.#live.control.execute(command, { id: this.id })
    await this.reach([to], AbortSignal.timeout(endMs))
  }

  /** Ends what there is of it, without effect unless it has been finalized. */
  async end(): Promise<void> {
    try {
      if (this.#live.control.isClosed || this.#status === 'null') return
      if (this.#status !== 'concluded') {
        await this.#live.control.execute('job-cancel', { id: this.id })
        await this.reach(['concluded'], AbortSignal.timeout(endMs)).catch(() => undefined)
      }
      await this.#live.control.execute('job-dismiss', { id: this.id })
      this.#status = 'null'
    } finally {
      this.#off()
    }
  }

  async #error(): Promise<string> {
    const found = await this.#live.control.query('query-jobs', jobs)
    return found.find(({ id }) => id === this.id)?.error ?? 'QEMU gave no reason'
  }
}
