/** A crew of threads: names, compresses and seals beside the thread that reads and writes. */
import { Worker } from 'node:worker_threads'
import type { Crew } from './crew.ts'
import type { Jobs } from './jobs.ts'
import type { Answer, Order } from './thread.ts'

type Waiting = { readonly resolve: (result: never) => void; readonly reject: (error: unknown) => void }

class Hand {
  readonly #worker = new Worker(new URL('./thread.ts', import.meta.url))
  readonly #waiting = new Map<number, Waiting>()
  #next = 0
  #failure: { readonly error: unknown } | null = null

  constructor() {
    this.#worker.on('message', (answer: Answer) => {
      const waiting = this.#waiting.get(answer.number)
      this.#waiting.delete(answer.number)
      if (this.#waiting.size === 0) this.#worker.unref()
      if ('failure' in answer) waiting?.reject(new Error(answer.failure))
      else waiting?.resolve(answer.result as never)
    })
    this.#worker.on('error', (error) => this.#fail(error))
    this.#worker.on('exit', () => this.#fail(new Error('a thread has ended')))
    this.#worker.unref()
  }

  get jobs(): number {
    return this.#waiting.size
  }

  do<Name extends keyof Jobs>(name: Name, job: Jobs[Name][0]): Promise<Jobs[Name][1]> {
    if (this.#failure !== null) return Promise.reject(this.#failure.error)
    const number = this.#next++
    return new Promise((resolve, reject) => {
      this.#waiting.set(number, { resolve, reject })
      this.#worker.ref()
      this.#worker.postMessage({ number, name, job } satisfies Order, handedOver(job))
    })
  }

  async end(): Promise<void> {
    await this.#worker.terminate()
  }

  #fail(error: unknown): void {
    this.#failure ??= { error }
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
  }
}

/** The large ones; keys and ids are copied, for they are used again. */
function handedOver(job: Jobs[keyof Jobs][0]): ArrayBuffer[] {
  if ('sealed' in job) return job.sealed.map(({ buffer }) => buffer)
  return [job.data.buffer]
}

/** `threads`: as many as there are cores is right; the one that asks mostly waits. */
export function threadCrew(threads: number): Crew {
  const hands = Array.from({ length: threads }, () => new Hand())
  return {
    do: (name, job) => hands.reduce((least, hand) => (hand.jobs < least.jobs ? hand : least)).do(name, job),
    close: async () => {
      await Promise.all(hands.map((hand) => hand.end()))
    },
  }
}
