/**
 * A client of QEMU's machine protocol over a unix socket. One socket serves one client: a second one is accepted and then
 * hears nothing until the first leaves, so connecting has a deadline too. Reconnecting is the owner's business.
 */
import { connect, type Socket } from 'node:net'
import type { z } from 'zod'
import { QmpClosed, QmpRefused, QmpTimeout } from './errors.ts'
import { cutIntoLines, event, greeting, type QmpEvent, reply } from './messages.ts'

export type QmpOptions = { readonly deadlineMs?: number; readonly signal?: AbortSignal }
export type EventListener = (event: QmpEvent) => void

/** Far above what any command here takes (they answer in milliseconds), below what a waiting user believes in. */
const defaultDeadlineMs = 20_000

/** Nothing QEMU says is nearly as long; a peer that never ends its line is not QEMU. */
const longestLine = 64 * 1024 * 1024

type Waiting = { readonly command: string; readonly resolve: (value: unknown) => void; readonly reject: (why: Error) => void }

export class QmpClient {
  readonly #socket: Socket
  readonly #waiting = new Map<number, Waiting>()
  readonly #listeners = new Set<EventListener>()
  readonly #greeted = Promise.withResolvers<unknown>()
  #serial = 0
  #isClosed = false
  /** Resolves when the connection has ended, whoever ended it. */
  readonly closed: Promise<void>

  private constructor(socket: Socket) {
    this.#socket = socket
    this.closed = new Promise((resolve) => socket.once('close', resolve))
    const cut = cutIntoLines(longestLine, (line) => this.#hear(line))
    socket.setEncoding('utf8')
    socket.on('data', (chunk: string) => {
      try {
        cut(chunk)
      } catch (error) {
        socket.destroy(error instanceof Error ? error : undefined)
      }
    })
    socket.on('error', () => undefined) // 'close' follows and says it
    socket.once('close', () => this.#end())
  }

  /** Connects and leaves the negotiation mode. Rejects with the socket's own error when nobody listens. */
  static async connect(path: string, { deadlineMs = defaultDeadlineMs, signal }: QmpOptions = {}): Promise<QmpClient> {
    signal?.throwIfAborted()
    const socket = connect(path)
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject)
      socket.once('connect', () => {
        socket.off('error', reject)
        resolve()
      })
    })
    const client = new QmpClient(socket)
    try {
      await client.#within('greeting', client.#greeted.promise, deadlineMs, signal)
      await client.execute('qmp_capabilities', {}, { deadlineMs, ...(signal ? { signal } : {}) })
    } catch (error) {
      socket.destroy()
      throw error
    }
    return client
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  async execute(command: string, args: object = {}, options: QmpOptions = {}): Promise<unknown> {
    options.signal?.throwIfAborted()
    if (this.#isClosed) throw new QmpClosed(command)
    const id = ++this.#serial
    const answer = new Promise<unknown>((resolve, reject) => this.#waiting.set(id, { command, resolve, reject }))
    this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`)
    try {
      return await this.#within(command, answer, options.deadlineMs ?? defaultDeadlineMs, options.signal)
    } finally {
      this.#waiting.delete(id)
    }
  }

  /** Executes and checks what came back. */
  async query<Schema extends z.ZodType>(
    command: string,
    schema: Schema,
    args: object = {},
    options: QmpOptions = {},
  ): Promise<z.output<Schema>> {
    return schema.parse(await this.execute(command, args, options))
  }

  /** Runs a command of the human monitor, for what the machine protocol lacks. */
  async human(line: string, options: QmpOptions = {}): Promise<string> {
    return String(await this.execute('human-monitor-command', { 'command-line': line }, options))
  }

  onEvent(listener: EventListener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** The next event that fits. Ask for it before the command that causes it. */
  async nextEvent(fits: (event: QmpEvent) => boolean, options: QmpOptions = {}): Promise<QmpEvent> {
    const { promise, resolve, reject } = Promise.withResolvers<QmpEvent>()
    const off = this.onEvent((heard) => fits(heard) && resolve(heard))
    void this.closed.then(() => reject(new QmpClosed('event')))
    try {
      return await this.#within('event', promise, options.deadlineMs ?? defaultDeadlineMs, options.signal)
    } finally {
      off()
    }
  }

  close(): void {
    this.#socket.destroy()
  }

  async #within<T>(command: string, answer: Promise<T>, deadlineMs: number, signal?: AbortSignal): Promise<T> {
    const { promise, reject } = Promise.withResolvers<never>()
    const timer = setTimeout(() => reject(new QmpTimeout(command, deadlineMs)), deadlineMs)
    const aborted = (): void => reject(signal?.reason)
    signal?.addEventListener('abort', aborted, { once: true })
    answer.catch(() => undefined) // may be rejected after the deadline, when nobody listens any more
    try {
      return await Promise.race([answer, promise])
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', aborted)
    }
  }

  #hear(line: string): void {
    const message: unknown = JSON.parse(line)
    const said = event.safeParse(message)
    if (said.success) {
      for (const listener of [...this.#listeners]) listener(said.data)
      return
    }
    const answered = reply.safeParse(message)
    if (!answered.success) {
      if (greeting.safeParse(message).success) this.#greeted.resolve(message)
      return
    }
    const { data } = answered
    const waiting = data.id === undefined ? undefined : this.#waiting.get(data.id)
    if (waiting === undefined) return
    if ('error' in data) waiting.reject(new QmpRefused(waiting.command, data.error.class, data.error.desc))
    else waiting.resolve(data.return)
  }

  #end(): void {
    this.#isClosed = true
    this.#greeted.reject(new QmpClosed('greeting'))
    this.#greeted.promise.catch(() => undefined)
    for (const { command, reject } of this.#waiting.values()) reject(new QmpClosed(command))
    this.#waiting.clear()
  }
}
