import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { fastify } from 'fastify'
import { expect, onTestFinished, test } from 'vitest'
import type { OperationEventView } from '../../../contract/operations.ts'
import { asId, type OperationId } from '../../domain/ids.ts'
import { sendEvents } from './stream.ts'

const kilobyte = 'x'.repeat(1024)
const eventAt = (seq: number): OperationEventView => ({
  seq,
  operation: asId<OperationId>('o'),
  at: '2026-01-02T03:04:05Z',
  type: 'progress',
  data: { kilobyte },
})

/** A stream without an end; says how far it was read, and whether it was let go. */
async function endlessStream() {
  const seen = { produced: 0, ended: false }
  const app = fastify()
  app.decorate('stopping', new AbortController().signal)
  async function* source(signal: AbortSignal) {
    try {
      while (!signal.aborted) {
        if (seen.produced % 100 === 0) await wait(0)
        yield eventAt(seen.produced++)
      }
    } finally {
      seen.ended = true
    }
  }
  app.get('/', (request, reply) => sendEvents(request, reply, source, () => false))
  const url = new URL(await app.listen({ host: '127.0.0.1', port: 0 }))
  onTestFinished(() => app.close())
  return { seen, port: Number(url.port) }
}

test('a reader that does not read is not written to without end, and is let go when it goes', async () => {
  const { seen, port } = await endlessStream()
  const socket = connect(port, '127.0.0.1')
  await once(socket, 'connect')
  socket.pause()
  socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
  let before = -1
  for (let tries = 0; tries < 100 && (before !== seen.produced || before <= 0); tries++) {
    before = seen.produced
    await wait(200)
  }
  expect(seen.produced).toBeGreaterThan(0)
  // What the kernel takes on both sides, and one buffer of ours: megabytes, where an unheeded stream is without bound.
  expect(seen.produced).toBeLessThan(20_000)
  const standing = seen.produced
  socket.resume()
  for (let tries = 0; tries < 100 && seen.produced === standing; tries++) await wait(50)
  expect(seen.produced).toBeGreaterThan(standing)
  socket.destroy()
  for (let tries = 0; tries < 100 && !seen.ended; tries++) await wait(50)
  expect(seen.ended).toBe(true)
})
