/** What the client does about servers that break off, fall silent, or do not keep to the protocol. */
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { NbdClient } from './client.ts'

const open: { server: Server; sockets: Socket[]; directory: string }[] = []

afterEach(async () => {
  for (const { server, sockets, directory } of open.splice(0)) {
    for (const socket of sockets) socket.destroy()
    server.close()
    await rm(directory, { recursive: true })
  }
})

/** Answers the path of a server that does this with whoever connects. */
async function serverThat(serves: (socket: Socket) => void): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'nbd-'))
  const sockets: Socket[] = []
  const server = createServer((socket) => {
    sockets.push(socket)
    socket.on('error', () => undefined)
    serves(socket)
  })
  open.push({ server, sockets, directory })
  const path = join(directory, 's')
  await new Promise<void>((resolve) => server.listen(path, resolve))
  return path
}

const u16 = (...all: number[]) => Buffer.concat(all.map((n) => Buffer.from([n >> 8, n & 255])))
function u32(...all: number[]): Buffer {
  const bytes = Buffer.alloc(4 * all.length)
  for (const [at, n] of all.entries()) bytes.writeUInt32BE(n, 4 * at)
  return bytes
}
const u64 = (n: number): Buffer => u32(Math.floor(n / 2 ** 32), n % 2 ** 32)

const hello = Buffer.concat([Buffer.from('NBDMAGICIHAVEOPT'), u16(3)])
const optionReply = (option: number, type: number, data: Buffer = Buffer.alloc(0)): Buffer =>
  Buffer.concat([Buffer.from('0003e889045565a9', 'hex'), u32(option, type, data.length), data])
const exportInfo = (size: number): Buffer => Buffer.concat([u16(0), u64(size), u16(1 | 4)])
const chunk = (handle: number, type: number, isLast: boolean, data: Buffer = Buffer.alloc(0)): Buffer =>
  Buffer.concat([u32(0x668e33ef), u16(isLast ? 1 : 0, type), u64(handle), u32(data.length), data])

/** Agrees to everything, then does this with each request of 28 bytes. */
const agreeingServer = (answer: (socket: Socket, handle: number, offset: number, length: number) => void) =>
  serverThat((socket) => {
    socket.write(hello)
    let bytes: Buffer = Buffer.alloc(0)
    let isServing = false
    let [agreed, expected] = [0, 4] // the client's flags come first
    const step = (): void => {
      if (isServing) {
        answer(socket, bytes.readUInt32BE(12), bytes.readUInt32BE(20), bytes.readUInt32BE(24))
        bytes = bytes.subarray(28)
      } else if (agreed++ === 0) {
        bytes = bytes.subarray(4)
        expected = 16
      } else {
        const [option, length] = [bytes.readUInt32BE(8), bytes.readUInt32BE(12)]
        if (bytes.length < 16 + length) {
          agreed--
          expected = 16 + length
          return
        }
        bytes = bytes.subarray(16 + length)
        if (option === 10) socket.write(optionReply(10, 4, Buffer.concat([u32(7), Buffer.from('base:allocation')])))
        if (option === 7) socket.write(optionReply(7, 3, exportInfo(2 ** 20)))
        socket.write(optionReply(option, 1))
        isServing = option === 7
        expected = isServing ? 28 : 16
      }
    }
    socket.on('data', (data) => {
      bytes = Buffer.concat([bytes, data])
      while (bytes.length >= expected && bytes.length > 0) {
        const before = bytes.length
        step()
        if (bytes.length === before) break
      }
    })
  })

const connect = (path: string) => NbdClient.connect(path, { export: 'x', contexts: ['base:allocation'], silenceMs: 300 })

test('answers may come in any order and in pieces', async () => {
  const handles: number[] = []
  const path = await agreeingServer((socket, handle) => {
    handles.push(handle)
    if (handles.length < 2) return
    const [first = 0, second = 0] = handles
    const bytes = Buffer.concat([
      chunk(second, 1, false, Buffer.concat([u64(512), Buffer.alloc(512, 2)])),
      chunk(first, 2, false, Buffer.concat([u64(0), u32(1024)])),
      chunk(second, 2, false, Buffer.concat([u64(0), u32(512)])),
      chunk(second, 0, true),
      chunk(first, 0, true),
    ])
    const send = (at: number): void => {
      if (at >= bytes.length) return
      socket.write(bytes.subarray(at, at + 100), () => setImmediate(send, at + 100))
    }
    send(0)
  })
  const client = await connect(path)
  const [first, second] = await Promise.all([client.read(0, 1024), client.read(0, 1024)])
  expect(first.equals(Buffer.alloc(1024))).toBe(true)
  expect(second.equals(Buffer.concat([Buffer.alloc(512), Buffer.alloc(512, 2)]))).toBe(true)
  client.destroy()
})

const breaches: Record<string, (handle: number) => Buffer> = {
  'a read with gaps': (handle) => chunk(handle, 1, true, Buffer.concat([u64(0), Buffer.alloc(512)])),
  'data that was not asked for': (handle) => chunk(handle, 1, true, Buffer.concat([u64(512), Buffer.alloc(1024)])),
  'an answer to nothing that was asked': (handle) => chunk(handle + 100, 0, true),
  'a chunk of type 9 in answer to read of 1024 bytes at 0': (handle) => chunk(handle, 9, true),
  'a reply does not begin as one': () => Buffer.alloc(16),
  'a simple reply where a structured one was agreed on': (handle) => Buffer.concat([u32(0x67446698, 0), u64(handle)]),
  'an error whose message does not end': (handle) => chunk(handle, 0x8001, true, Buffer.concat([u32(5), u16(60_000)])),
}

test.each(Object.entries(breaches))(
  '%s: all that is under way is rejected, and nothing is asked any more',
  async (what, bytes) => {
    const path = await agreeingServer((socket, handle) => socket.write(bytes(handle)))
    const client = await connect(path)
    const both = await Promise.allSettled([client.read(0, 1024), client.flush()])
    expect(both.map((one) => (one.status === 'rejected' ? one.reason.message : 'fine'))).toEqual([
      expect.stringContaining(what),
      expect.stringContaining(what),
    ])
    await expect(client.read(0, 512)).rejects.toThrow(what)
  },
)

test('an error of the server is that request’s alone, also between good chunks', async () => {
  const path = await agreeingServer((socket, handle, offset) => {
    const data = chunk(handle, 1, offset !== 0, Buffer.concat([u64(offset), Buffer.alloc(512, 9)]))
    const error = chunk(handle, 0x8002, true, Buffer.concat([u32(5), u16(4), Buffer.from('torn'), u64(0)]))
    socket.write(offset === 0 ? Buffer.concat([data, error]) : data)
  })
  const client = await connect(path)
  const [bad, good] = await Promise.allSettled([client.read(0, 512), client.read(512, 512)])
  expect(bad).toMatchObject({ status: 'rejected', reason: { name: 'NbdRefused', errno: 5 } })
  expect(good).toMatchObject({ status: 'fulfilled' })
  client.destroy()
})

test('a server that breaks off rejects what is under way', async () => {
  const path = await agreeingServer((socket) => socket.destroy())
  const client = await connect(path)
  await expect(client.read(0, 512)).rejects.toMatchObject({ name: 'NbdClosed' })
})

test('a server that falls silent is given up after a while; silence when nothing was asked is fine', async () => {
  let isMute = false
  const path = await agreeingServer((socket, handle) => {
    if (!isMute) socket.write(chunk(handle, 0, true))
  })
  const client = await connect(path)
  await new Promise((resolve) => setTimeout(resolve, 700))
  await client.flush()
  isMute = true
  await expect(client.flush()).rejects.toThrow('said nothing for 300 ms')
})

test('closing ends even when the server does not', async () => {
  const path = await agreeingServer(() => undefined)
  const client = await connect(path)
  await client.close()
})

test('a server that says nothing at all, or speaks another protocol, is given up', async () => {
  await expect(connect(await serverThat(() => undefined))).rejects.toThrow('said nothing')
  await expect(connect(await serverThat((socket) => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n')))).rejects.toThrow(
    'newstyle',
  )
})
