/**
 * Talks with the QEMU guest agent over its channel. The channel keeps what nobody has read, and a guest that is gone simply
 * does not answer: so every talk begins with a synchronisation, and everything has a deadline.
 */
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { z } from 'zod'
import { QmpClosed, QmpRefused, QmpTimeout } from './errors.ts'
import { cutIntoLines } from './messages.ts'

const answer = z.union([
  z.object({ return: z.unknown() }),
  z.object({ error: z.object({ class: z.string(), desc: z.string() }) }),
])
type Answer = z.infer<typeof answer>

/** The guest is a stranger: it may send anything, and as much as it likes. */
const longestLine = 1024 * 1024

/** Tells the agent, and us, to forget what came before. */
const sentinel = 0xff

export class GuestTalk {
  readonly #socket: Socket
  #waiting: { readonly takes: (said: Answer) => void; readonly reject: (why: Error) => void } | null = null

  private constructor(socket: Socket) {
    this.#socket = socket
    const cut = cutIntoLines(longestLine, (line) => this.#hear(line))
    socket.setEncoding('latin1')
    socket.on('data', (chunk: string) => {
      try {
        // What stands before the sentinel belongs to an earlier talk; the line that begins with it is ours.
        cut(chunk.replaceAll('\xff', '\n'))
      } catch {
        socket.destroy()
      }
    })
    socket.on('error', () => undefined)
    socket.once('close', () => this.#waiting?.reject(new QmpClosed('guest agent')))
  }

  /** Begins a talk; rejects when the agent does not answer within the time. */
  static async begin(directory: string, deadlineMs: number): Promise<GuestTalk> {
    const socket = connect(join(directory, 'qga'))
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject)
      socket.once('connect', () => resolve())
    })
    const talk = new GuestTalk(socket)
    try {
      const id = Math.floor(Math.random() * 2 ** 31)
      socket.write(Buffer.from([sentinel]))
      // The sentinel itself is answered by a complaint, and what former talks asked may be answered now: all that is passed over.
      await talk.#exchange('guest-sync-delimited', { id }, deadlineMs, (said) => 'return' in said && said.return === id)
      return talk
    } catch (error) {
      talk.end()
      throw error
    }
  }

  async ask(command: string, args: object, deadlineMs: number): Promise<unknown> {
    const said = await this.#exchange(command, args, deadlineMs, () => true)
    if ('error' in said) throw new QmpRefused(command, said.error.class, said.error.desc)
    return said.return
  }

  tell(command: string, args: object = {}): void {
    this.#socket.write(`${JSON.stringify({ execute: command, arguments: args })}\n`)
  }

  end(): void {
    this.#socket.destroy()
  }

  async #exchange(command: string, args: object, deadlineMs: number, fits: (said: Answer) => boolean): Promise<Answer> {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>()
    this.#waiting = { takes: (said) => fits(said) && resolve(said), reject }
    this.tell(command, args)
    const timer = setTimeout(() => reject(new QmpTimeout(command, deadlineMs)), deadlineMs)
    try {
      return await promise
    } finally {
      clearTimeout(timer)
      this.#waiting = null
    }
  }

  #hear(line: string): void {
    const said = answer.safeParse(parsed(line))
    if (said.success) this.#waiting?.takes(said.data)
  }
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return null
  }
}

/** One question, or one order that is not answered. */
export async function askGuest(
  directory: string,
  order: { command: string; args?: object; deadlineMs: number; answers: boolean },
): Promise<unknown> {
  const talk = await GuestTalk.begin(directory, order.deadlineMs)
  try {
    if (order.answers) return await talk.ask(order.command, order.args ?? {}, order.deadlineMs)
    talk.tell(order.command, order.args)
    return null
  } finally {
    if (order.answers) talk.end()
    else setTimeout(() => talk.end(), order.deadlineMs).unref()
  }
}
