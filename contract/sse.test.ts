import fc from 'fast-check'
import { expect, test } from 'vitest'
import { readEvents } from './sse.ts'

async function read(chunks: readonly Uint8Array[]) {
  async function* body() {
    yield* chunks
  }
  const events = []
  for await (const event of readEvents(body())) events.push(event)
  return events
}

const text =
  ': hello\nretry: 1000\n\nid: 7\nevent: step\ndata: {"a":\ndata:"Grüße 👋"}\n\n: still here\n\ndata\n\nid: 8\ndata: last\n\ndata: broken off'

test('whatever the line ends and wherever the chunks break, the same events come out', async () => {
  await fc.assert(
    fc.asyncProperty(fc.constantFrom('\n', '\r\n', '\r'), fc.array(fc.nat(200), { maxLength: 20 }), async (end, cuts) => {
      const bytes = new TextEncoder().encode(text.replaceAll('\n', end))
      const at = [0, ...cuts.map((cut) => cut % bytes.length).sort((a, b) => a - b), bytes.length]
      const chunks = at.slice(1).map((to, index) => bytes.slice(at[index], to))
      expect(await read(chunks)).toEqual([
        { id: '7', event: 'step', data: '{"a":\n"Grüße 👋"}' },
        { id: '7', event: 'message', data: '' },
        { id: '8', event: 'message', data: 'last' },
      ])
    }),
  )
})
