/** Calls that take long answer in JSON lines: how far they are, again and again, so that nobody takes them for dead, then how they ended. */
import type { ServerResponse } from 'node:http'
import type { MoveProgress } from '../ports/vault-mover.ts'
import { moverSpeaksMs } from './protocol.ts'

export class LineAnswer {
  readonly #response: ServerResponse
  readonly #timer: NodeJS.Timeout
  #progress: MoveProgress = { doneBytes: 0, totalBytes: 0, bytesPerSecond: 0 }

  constructor(response: ServerResponse) {
    this.#response = response
    this.#timer = setInterval(() => this.#say({ progress: this.#progress }), moverSpeaksMs)
  }

  tell = (progress: MoveProgress): void => {
    this.#progress = progress
  }

  /** False when nothing has been said yet, so that a refusal can still be answered as any other. */
  get hasBegun(): boolean {
    return this.#response.headersSent
  }

  end(how: { readonly result: unknown } | { readonly error: object }): void {
    clearInterval(this.#timer)
    this.#say(how)
    this.#response.end()
  }

  /** Says nothing more: whoever else answers, does. */
  abandon(): void {
    clearInterval(this.#timer)
  }

  #say(line: object): void {
    if (this.#response.destroyed) return
    if (!this.#response.headersSent) this.#response.writeHead(200, { 'content-type': 'application/x-ndjson' })
    this.#response.write(`${JSON.stringify(line)}\n`)
  }
}
