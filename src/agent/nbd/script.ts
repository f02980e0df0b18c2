/**
 * A protocol written down as it is read, byte by byte, and run by whatever chunks arrive. The script yields what it wants next:
 * a number of bytes to look at, or a place of its own to be filled; it goes on when that is there.
 */
export type Wanted = number | Uint8Array
export type Script<Result = void> = Generator<Wanted, Result, Buffer>

export class ScriptReader {
  readonly #script: Script
  #place: Buffer = Buffer.alloc(0)
  #filled = 0
  #isOver = false

  constructor(script: Script) {
    this.#script = script
    this.#want(script.next())
  }

  /** The chunk may be used for other things afterwards. Throws what the script throws. */
  feed(chunk: Uint8Array): void {
    let at = 0
    while (at < chunk.length && !this.#isOver) {
      const taken = Math.min(chunk.length - at, this.#place.length - this.#filled)
      this.#place.set(chunk.subarray(at, at + taken), this.#filled)
      this.#filled += taken
      at += taken
      if (this.#filled === this.#place.length) this.#want(this.#script.next(this.#place))
    }
  }

  #want(step: IteratorResult<Wanted, void>): void {
    for (let next = step; ; next = this.#script.next(this.#place)) {
      this.#isOver = next.done === true
      if (next.done) return
      const { value } = next
      this.#place =
        typeof value === 'number' ? Buffer.allocUnsafe(value) : Buffer.from(value.buffer, value.byteOffset, value.length)
      this.#filled = 0
      if (this.#place.length > 0) return
    }
  }
}
