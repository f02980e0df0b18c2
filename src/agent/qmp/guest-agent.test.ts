import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { askGuest, GuestTalk } from './guest-agent.ts'

type Asked = { readonly execute: string; readonly arguments: { readonly id?: number } }

let directory: string
let server: Server
/** What the stand-in was asked, and how it answers; it synchronises by itself. */
let asked: string[]
let answer: (asked: Asked, socket: Socket) => void

const say = (socket: Socket, value: unknown): void => void socket.write(`${JSON.stringify({ return: value })}\n`)

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'qga-'))
  asked = []
  answer = (_, socket) => say(socket, {})
  server = createServer((socket) => {
    let rest = ''
    socket.setEncoding('latin1').on('error', () => undefined)
    socket.on('data', (chunk) => {
      const lines = (rest + String(chunk)).replaceAll('\xff', '').split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines.filter((one) => one !== '')) {
        const question = JSON.parse(line) as Asked
        asked.push(question.execute)
        if (question.execute !== 'guest-sync-delimited') answer(question, socket)
        else
          socket.write(
            Buffer.concat([
              Buffer.from('{"return": "of a former talk"}\n{"error": {"class": "GenericError", "desc": "JSON parse error"}}\n'),
              Buffer.from([0xff]),
              Buffer.from(`${JSON.stringify({ return: question.arguments.id })}\n`),
            ]),
          )
      }
    })
  })
  await new Promise<void>((listening) => server.listen(join(directory, 'qga'), listening))
})
afterEach(async () => {
  server.close()
  await rm(directory, { recursive: true })
})

test('what was left over from former talks is passed over', async () => {
  answer = ({ execute }, socket) => say(socket, execute)
  const talk = await GuestTalk.begin(directory, 1_000)
  expect(await talk.ask('guest-ping', {}, 1_000)).toBe('guest-ping')
  talk.end()
})

test('questions asked at once get their answers in order', async () => {
  answer = ({ execute }, socket) => say(socket, execute)
  const talk = await GuestTalk.begin(directory, 1_000)
  const names = ['one', 'two', 'three']
  expect(await Promise.all(names.map((name) => talk.ask(name, {}, 1_000)))).toEqual(names)
  talk.end()
})

test('an answer that comes late is not taken for that of the next question', async () => {
  let late: Socket | undefined
  answer = ({ execute }, socket) => {
    if (execute === 'guest-fsfreeze-freeze') late = socket
    else {
      if (late) say(late, 3)
      say(socket, 'thawed')
    }
  }
  const talk = await GuestTalk.begin(directory, 1_000)
  await expect(talk.ask('guest-fsfreeze-freeze', {}, 20)).rejects.toMatchObject({ name: 'QmpTimeout' })
  expect(await talk.ask('guest-fsfreeze-status', {}, 1_000)).toBe('thawed')
  talk.end()
})

test('a channel that closes fails what waits, and what is asked later, at once', async () => {
  answer = (_, socket) => socket.destroy()
  const talk = await GuestTalk.begin(directory, 1_000)
  const both = await Promise.allSettled([talk.ask('one', {}, 60_000), talk.ask('two', {}, 60_000)])
  expect(both.map((one) => one.status === 'rejected' && one.reason.name)).toEqual(['QmpClosed', 'QmpClosed'])
  await expect(talk.ask('three', {}, 60_000)).rejects.toMatchObject({ name: 'QmpClosed' })
})

test('an agent that does not answer is not waited for', async () => {
  server.removeAllListeners('connection')
  await expect(askGuest(directory, { command: 'guest-ping', deadlineMs: 30, answers: true })).rejects.toMatchObject({
    name: 'QmpTimeout',
  })
})
