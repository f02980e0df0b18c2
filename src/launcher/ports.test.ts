import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { addressProblem, healthOf } from './ports.ts'

test('health is asked of whoever listens, and no connection is tried where nobody does', async () => {
  const server = createServer((_request, answer) => answer.end('{"agents":{"configured":2,"met":1}}'))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const url = `http://127.0.0.1:${port}`
  expect(await healthOf(url)).toEqual({ agents: { configured: 2, met: 1 } })
  await new Promise((resolve) => server.close(resolve))

  let tried = 0
  const onSocket = () => {
    tried += 1
  }
  subscribe('net.client.socket', onSocket)
  onTestFinished(() => void unsubscribe('net.client.socket', onSocket))
  expect(await healthOf(url)).toBe(null)
  expect(tried).toBe(0)
  expect(await addressProblem({ host: '127.0.0.1', port })).toBe(null)
})
