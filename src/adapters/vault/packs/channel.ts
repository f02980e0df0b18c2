/** Bytes from whoever makes them to a store that takes them at its own pace. */
export class Channel implements AsyncIterable<Uint8Array> {
  readonly #waiting: Uint8Array[] = []
  #waitingBytes = 0
  #ended = false
  #failure: { readonly error: unknown } | null = null
  #wake: (() => void) | null = null
  #room: (() => void)[] = []
  readonly #limit: number

  /** `limit`: bytes that may wait before `room` does. */
  constructor(limit: number) {
    this.#limit = limit
  }

  push(bytes: Uint8Array): void {
    this.#waiting.push(bytes)
    this.#waitingBytes += bytes.length
    this.#wake?.()
  }

  end(): void {
    this.#ended = true
    this.#wake?.()
  }

  /** Whoever takes the bytes is told that they are not going to be whole. */
  fail(error: unknown): void {
    this.#failure ??= { error }
    this.end()
    this.#letIn()
  }

  /** Nobody takes anything any more: whoever waits for room need not. */
  close(): void {
    this.#ended = true
    this.#letIn()
  }

  /** Resolves when more should be pushed, or when nobody takes anything any more. */
  async room(): Promise<void> {
    if (this.#waitingBytes > this.#limit && !this.#ended) await new Promise<void>((resolve) => this.#room.push(resolve))
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    try {
      for (;;) {
        if (this.#failure !== null) throw this.#failure.error
        const next = this.#waiting.shift()
        if (next !== undefined) {
          this.#waitingBytes -= next.length
          if (this.#waitingBytes <= this.#limit) this.#letIn()
          yield next
        } else if (this.#ended) return
        else
          await new Promise<void>((resolve) => {
            this.#wake = resolve
          })
      }
    } finally {
      this.close()
    }
  }

  #letIn(): void {
    for (const resolve of this.#room.splice(0)) resolve()
  }
}
