/**
 * Talks with the QEMU guest agent over its channel. The channel keeps what nobody has read, and a guest that is gone simply
 * does not answer: so every talk begins with a synchronisation, and everything has a deadline.
 */
import { once } from 'node:events'
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

type Waiting = { readonly resolve: (said: Answer) => void; readonly reject: (why: Error) => void }

/**
 * One conversation. The agent answers in the order of asking and its answers carry no number, so a question whose time is over
 * keeps its place: the late answer is its own, and not that of the question after it.
 */
export class GuestTalk {
  readonly #socket: Socket
  readonly #waiting: Waiting[] = []
  #passOver: ((said: Answer) => boolean) | null = null

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
    socket.once('close', () => {
      for (const { reject } of this.#waiting.splice(0)) reject(new QmpClosed('guest agent'))
    })
  }

  /** Begins a talk; rejects when the agent does not answer within the time. */
  static async begin(directory: string, deadlineMs: number): Promise<GuestTalk> {
    const until = performance.now() + deadlineMs
    const talk = new GuestTalk(await connected(join(directory, 'qga'), deadlineMs))
    try {
      const id = Math.floor(Math.random() * 2 ** 31)
      talk.#socket.write(Buffer.from([sentinel]))
      // The sentinel itself is answered by a complaint, and what former talks asked may be answered now: all that is passed over.
      talk.#passOver = (said) => !('return' in said && said.return === id)
      await talk.#exchange('guest-sync-delimited', { id }, Math.max(1, until - performance.now()))
      return talk
    } catch (error) {
      talk.end()
      throw error
    }
  }

  /** Questions may be asked without waiting for the answers to earlier ones. */
  async ask(command: string, args: object, deadlineMs: number): Promise<unknown> {
    const said = await this.#exchange(command, args, deadlineMs)
    if ('error' in said) throw new QmpRefused(command, said.error.class, said.error.desc)
    return said.return
  }

  tell(command: string, args: object = {}): void {
    this.#socket.write(`${JSON.stringify({ execute: command, arguments: args })}\n`)
  }

  end(): void {
    this.#socket.destroy()
  }

  async #exchange(command: string, args: object, deadlineMs: number): Promise<Answer> {
    if (this.#socket.destroyed) throw new QmpClosed(command)
    const { promise, resolve, reject } = Promise.withResolvers<Answer>()
    this.#waiting.push({ resolve, reject })
    this.tell(command, args)
    const timer = setTimeout(() => reject(new QmpTimeout(command, deadlineMs)), deadlineMs)
    try {
      return await promise
    } finally {
      clearTimeout(timer)
    }
  }

  #hear(line: string): void {
    const said = answer.safeParse(parsed(line))
    if (!said.success || this.#passOver?.(said.data) === true) return
    this.#passOver = null
    this.#waiting.shift()?.resolve(said.data)
  }
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return null
  }
}

async function connected(path: string, deadlineMs: number): Promise<Socket> {
  const socket = connect(path)
  const timer = setTimeout(() => socket.destroy(new QmpTimeout('connect', deadlineMs)), deadlineMs)
  try {
    await once(socket, 'connect')
    return socket
  } finally {
    clearTimeout(timer)
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
