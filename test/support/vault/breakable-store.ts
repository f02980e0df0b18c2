/** A vault store whose user dies, or stands still, at the n-th call; with a dead user nothing more is done. */
import type { ObjectName, VaultStore } from '../../../src/ports/vault-store.ts'

export class Died extends Error {
  constructor() {
    super('the process has died')
  }
}

/**
 * `before`: nothing of the call happens · `after`: it happens, and nobody hears of it · `pause`: it waits for `goOn`, and then
 * happens · `pauseThenDie`: the same, and nobody hears of it.
 */
export type Breaking = { readonly call: number; readonly how: 'before' | 'after' | 'pause' | 'pauseThenDie' }

export class BreakableStore implements VaultStore {
  readonly #store: VaultStore
  readonly #breaking: Breaking | null
  #calls = 0
  #isDead = false
  #goOn: () => void = () => undefined
  #reached: () => void = () => undefined
  /** Resolves when it stands still. */
  readonly reached = new Promise<void>((resolve) => {
    this.#reached = resolve
  })

  constructor(store: VaultStore, breaking: Breaking | null) {
    this.#store = store
    this.#breaking = breaking
  }

  get calls(): number {
    return this.#calls
  }

  goOn(): void {
    this.#goOn()
  }

  put(name: ObjectName, data: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<void> {
    return this.#call(() => this.#store.put(name, this.#whileAlive(data)))
  }
  replace(name: ObjectName, data: Uint8Array): Promise<void> {
    return this.#call(() => this.#store.replace(name, data))
  }
  read(name: ObjectName, range?: { readonly offset: number; readonly length: number }): Promise<Buffer | null> {
    return this.#call(() => this.#store.read(name, range))
  }
  async *list(prefix: string): AsyncGenerator<{ readonly name: ObjectName; readonly sizeBytes: number }> {
    yield* await this.#call(async () => {
      const listed = []
      for await (const each of this.#store.list(prefix)) listed.push(each)
      return listed
    })
  }
  remove(name: ObjectName): Promise<void> {
    return this.#call(() => this.#store.remove(name))
  }
  freeBytes(): Promise<number | null> {
    return this.#store.freeBytes()
  }
  async close(): Promise<void> {}

  async #call<Result>(work: () => Promise<Result>): Promise<Result> {
    if (this.#isDead) throw new Died()
    const isHere = this.#breaking !== null && ++this.#calls === this.#breaking.call
    if (!isHere) return work()
    const { how } = this.#breaking
    if (how === 'pause' || how === 'pauseThenDie') {
      this.#reached()
      await new Promise<void>((resolve) => {
        this.#goOn = resolve
      })
    }
    if (how === 'pause') return work()
    if (how !== 'before') await work()
    this.#isDead = true
    throw new Died()
  }

  async *#whileAlive(data: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const some of data) {
      if (this.#isDead) throw new Died()
      yield some
    }
    if (this.#isDead) throw new Died()
  }
}
