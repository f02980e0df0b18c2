import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { QmpClient } from './client.ts'

let directory: string
let qemu: ChildProcess

const begin = (): ChildProcess =>
  spawn('qemu-system-x86_64', [
    ...['-machine', 'none', '-nodefaults', '-display', 'none', '-S'],
    ...['-chardev', `socket,id=m,path=${join(directory, 'qmp')},server=on,wait=off`, '-mon', 'chardev=m,mode=control'],
  ])

async function client(): Promise<QmpClient> {
  const until = Date.now() + 20_000
  for (;;) {
    try {
      return await QmpClient.connect(join(directory, 'qmp'), { deadlineMs: 10_000 })
    } catch (error) {
      if (Date.now() > until) throw error
      await pause(10)
    }
  }
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'qmp-'))
  qemu = begin()
})
afterAll(async () => {
  qemu.kill('SIGKILL')
  await rm(directory, { recursive: true })
})

test('answers find their questions, also when many are asked at once', async () => {
  const qmp = await client()
  const status = z.object({ status: z.string() })
  const asked = Array.from({ length: 50 }, (_, at) =>
    at % 2 === 0 ? qmp.query('query-status', status) : qmp.human('info version'),
  )
  const answers = await Promise.all(asked)
  expect(answers.filter((one) => typeof one === 'string' && one.startsWith('7.'))).toHaveLength(25)
  qmp.close()
})

test('a refusal carries QEMU class and words', async () => {
  const qmp = await client()
  await expect(qmp.execute('no-such-command')).rejects.toMatchObject({ name: 'QmpRefused', class: 'CommandNotFound' })
  await expect(qmp.execute('blockdev-del', { 'node-name': 'none' })).rejects.toThrow(
    "Failed to find node with node-name='none'",
  )
  qmp.close()
})

test('a second client hears nothing until the first leaves', async () => {
  const first = await client()
  await expect(QmpClient.connect(join(directory, 'qmp'), { deadlineMs: 300 })).rejects.toMatchObject({ name: 'QmpTimeout' })
  first.close()
  const second = await client()
  await second.execute('query-status')
  second.close()
})

test('an event is heard by whoever waits for it', async () => {
  const qmp = await client()
  const heard = qmp.nextEvent(({ event }) => event === 'RESUME')
  await qmp.execute('cont')
  expect(await heard).toMatchObject({ event: 'RESUME' })
  await expect(qmp.nextEvent(() => false, { deadlineMs: 50 })).rejects.toMatchObject({ name: 'QmpTimeout' })
  await expect(qmp.nextEvent(() => false, { signal: AbortSignal.timeout(50) })).rejects.toMatchObject({ name: 'TimeoutError' })
  qmp.close()
})

test('when QEMU ends, whoever waits is told', async () => {
  const qmp = await client()
  const event = qmp.nextEvent(() => false).catch((error: unknown) => error)
  const pid = qemu.pid
  process.kill(pid ?? 0, 'SIGSTOP')
  const question = qmp.execute('query-status').catch((error: unknown) => error)
  await expect(qmp.execute('query-status', {}, { deadlineMs: 100 })).rejects.toMatchObject({ name: 'QmpTimeout' })
  process.kill(pid ?? 0, 'SIGKILL')
  await once(qemu, 'exit')
  await qmp.closed
  expect([await question, await event]).toMatchObject([{ name: 'QmpClosed' }, { name: 'QmpClosed' }])
  await expect(qmp.execute('query-status')).rejects.toMatchObject({ name: 'QmpClosed' })
  qemu = begin()
  const again = await client()
  await again.execute('query-status')
  again.close()
})

test('a peer that sends something else is left', async () => {
  const server = createServer((socket) => socket.on('error', () => undefined).write('this is not QMP\n')).listen(
    join(directory, 'other'),
  )
  await once(server, 'listening')
  await expect(QmpClient.connect(join(directory, 'other'), { deadlineMs: 2_000 })).rejects.toMatchObject({ name: 'QmpClosed' })
  server.close()
})
