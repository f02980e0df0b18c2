/**
 * A client of one NBD export over a unix socket. Any number of requests may be under way; each answer finds its question by its
 * handle. A server that breaks the protocol, or is silent for long while something was asked, is given up: everything under way
 * is rejected with the same reason, and what became of writes is unknown.
 */
import { createConnection, type Socket } from 'node:net'
import { command, magic } from './constants.ts'
import { NbdClosed } from './errors.ts'
import { type Agreed, handshake } from './handshake.ts'
import { type Asked, answers, type Status } from './replies.ts'
import { type Script, ScriptReader } from './script.ts'

export type NbdContext = 'base:allocation' | 'qemu:allocation-depth'

export type NbdOptions = {
  readonly export: string
  readonly contexts?: readonly NbdContext[]
  /** A disk under load answers within seconds; one that is away for longer than this is not waited for. */
  readonly silenceMs?: number
}

const usualSilenceMs = 60_000
/** What one read of the socket takes at most; the kernel keeps about as much ready. */
const receiveBytes = 256 * 1024
const largestHandle = 2 ** 32 - 1

export class NbdClient {
  readonly #socket: Socket
  readonly #asked = new Map<number, Asked>()
  readonly #silence: NodeJS.Timeout
  readonly #ready = Promise.withResolvers<Agreed>()
  #agreed: Agreed | null = null
  #serial = 0
  #failure: Error | null = null
  #isClosing = false

  private constructor(path: string, options: NbdOptions) {
    const buffer = Buffer.allocUnsafe(receiveBytes)
    const reader = new ScriptReader(this.#conversation(options))
    const callback = (bytes: number): boolean => {
      this.#silence.refresh()
      try {
        reader.feed(buffer.subarray(0, bytes))
      } catch (error) {
        this.#giveUp(error instanceof Error ? error : new Error(String(error)))
      }
      return true
    }
    const silenceMs = options.silenceMs ?? usualSilenceMs
    this.#silence = setTimeout(() => this.#overdue(silenceMs), silenceMs)
    this.#socket = createConnection({ path, onread: { buffer, callback } })
    this.#socket.on('error', (error) => this.#giveUp(new NbdClosed(error.message)))
    this.#socket.once('close', () => this.#giveUp(new NbdClosed('it closed the connection')))
    this.#ready.promise.catch(() => undefined)
  }

  static async connect(path: string, options: NbdOptions): Promise<NbdClient> {
    const client = new NbdClient(path, options)
    client.#agreed = await client.#ready.promise
    return client
  }

  get sizeBytes(): number {
    return this.#agreed!.sizeBytes
  }

  get readOnly(): boolean {
    return this.#agreed!.readOnly
  }

  get can(): Agreed['can'] {
    return this.#agreed!.can
  }

  /** The most that one read or write may be about. */
  get mostBytes(): number {
    return this.#agreed!.mostBytes
  }

  async read(offset: number, length: number): Promise<Buffer> {
    const into = Buffer.allocUnsafe(length)
    await this.#ask(command.read, offset, length, { into })
    return into
  }

  /** The bytes must stay as they are until it resolves. */
  async write(offset: number, data: Uint8Array): Promise<void> {
    await this.#ask(command.write, offset, data.length, { data })
  }

  async writeZeroes(offset: number, length: number): Promise<void> {
    await this.#ask(command.writeZeroes, offset, length)
  }

  /** What is read there afterwards is undefined. */
  async trim(offset: number, length: number): Promise<void> {
    await this.#ask(command.trim, offset, length)
  }

  /** Resolves when every write that was answered before survives a power cut. */
  async flush(): Promise<void> {
    await this.#ask(command.flush, 0, 0)
  }

  /** Extents from `offset` on, at least one; they may end before the length does. */
  async blockStatus(context: NbdContext, offset: number, length: number): Promise<readonly Status[]> {
    const id = this.#agreed!.contexts.get(context)
    if (id === undefined) throw new TypeError(`the connection was made without ${context}`)
    const { statuses } = await this.#ask(command.blockStatus, offset, length)
    const found = statuses.get(id)
    if (found === undefined) throw this.#giveUp(new NbdClosed(`it said nothing about ${context}`))
    return found
  }

  /** Says goodbye and resolves when the connection has ended. */
  async close(): Promise<void> {
    if (this.#failure !== null) return
    const closed = new Promise<void>((resolve) => this.#socket.once('close', () => resolve()))
    this.#isClosing = true
    this.#silence.refresh()
    this.#socket.end(requestBytes(command.disconnect, 0, 0, 0))
    await closed
  }

  /** Ends the connection now. */
  destroy(): void {
    this.#giveUp(new NbdClosed('the connection was given up'))
  }

  *#conversation(options: NbdOptions): Script {
    const agreed = yield* handshake((bytes) => this.#socket.write(bytes), options.export, options.contexts ?? [])
    this.#ready.resolve(agreed)
    yield* answers(this.#asked)
  }

  async #ask(
    kind: number,
    offset: number,
    length: number,
    { into = null, data = null }: { into?: Buffer | null; data?: Uint8Array | null } = {},
  ): Promise<Asked> {
    if (this.#failure !== null) throw this.#failure
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const asked: Asked = { kind, offset, length, into, pieces: [], statuses: new Map(), error: null, resolve, reject }
    this.#serial = this.#serial === largestHandle ? 1 : this.#serial + 1
    if (this.#asked.size === 0) this.#silence.refresh()
    this.#asked.set(this.#serial, asked)
    this.#socket.cork()
    this.#socket.write(requestBytes(kind, this.#serial, offset, length))
    if (data !== null) this.#socket.write(data)
    this.#socket.uncork()
    await promise
    return asked
  }

  #overdue(silenceMs: number): void {
    if (this.#agreed === null || this.#isClosing || this.#asked.size > 0)
      this.#giveUp(new NbdClosed(`it said nothing for ${silenceMs} ms`))
    else this.#silence.refresh()
  }

  #giveUp(why: Error): Error {
    if (this.#failure !== null) return this.#failure
    this.#failure = why
    clearTimeout(this.#silence)
    this.#socket.destroy()
    this.#ready.reject(why)
    for (const { reject } of this.#asked.values()) reject(why)
    this.#asked.clear()
    return why
  }
}

function requestBytes(kind: number, handle: number, offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(28)
  bytes.writeUInt32BE(magic.request, 0)
  bytes.writeUInt16BE(kind, 6)
  bytes.writeUInt32BE(handle, 12)
  bytes.writeBigUInt64BE(BigInt(offset), 16)
  bytes.writeUInt32BE(length, 24)
  return bytes
}
