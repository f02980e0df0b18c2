import { expect, test } from 'vitest'
import { createClient } from '../../../contract/client.ts'
import { endpoints } from '../../../contract/index.ts'
import { nativeServer } from '../../../test/support/native-server.ts'
import { quietLog } from '../../../test/support/quiet-log.ts'
import { hostsWatcher } from './hosts.ts'

const GiB = 1024 ** 3

test('a pool that runs short is warned of once, in the log, in metrics, to the administrator and in preflights, until it has room', async () => {
  const { db, url, pool, user, instance, done } = await nativeServer()
  const alice = await user('alice', 'blue', 'member')
  const admin = await user('root', 'admins', 'admin')
  const log = quietLog()
  let freeBytes = 40 * GiB
  const hello = async () => ({
    name: 'memory',
    pools: [{ id: pool.pool, name: 'memory', kind: 'memory' as const, abilities: pool.abilities }],
    facts: { qemuVersion: '8.2.1', accelerator: 'tcg' as const, bootId: 'memory', vcpus: 8, memoryMib: 8192 },
    highestEpoch: 0,
  })
  const directory = {
    at: () => ({ host: () => ({ hello }) }),
    met: () => undefined,
    storage: () => ({ space: async () => ({ totalBytes: 100 * GiB, freeBytes }) }),
  }
  const watcher = hostsWatcher({ db, log, warnPercent: 15, addresses: ['memory'], directory }, 1000)
  const look = async (free: number) => {
    freeBytes = free * GiB
    await watcher.look(new AbortController().signal)
  }
  const get = async (path: string, token: string) =>
    await (await fetch(`${url}${path}`, { headers: { 'x-auth-token': token } })).text()
  const client = createClient({ url, token: async () => alice.token })
  const params = { instance: await instance(alice, 'web') }
  const taken = await client.call(endpoints.takeInstanceSnapshot, { params, body: { name: 'a' } })
  await done({ operation: taken.operation.id })
  const body = { to: { instance_snapshot: taken.snapshot } }
  const warnings = async () =>
    (await client.call(endpoints.preflightInstance, { params, body })).warnings.map(({ code }) => code)

  await look(16)
  expect(log.lines).toEqual([])
  expect(await warnings()).not.toContain('poolLow')

  await look(14)
  await look(13)
  expect(log.lines).toMatchObject([{ level: 'warn', facts: { pool: 'memory', freeBytes: 14 * GiB } }])
  expect(await get('/metrics', '')).toContain('comeback_pool_low{pool="memory"} 1')
  expect(JSON.parse(await get('/v1/pools', admin.token)).items).toMatchObject([{ low_since: expect.any(String) }])
  expect(await warnings()).toContain('poolLow')

  await look(20)
  expect(log.lines.map(({ level }) => level)).toEqual(['warn', 'info'])
  expect(await get('/metrics', '')).toContain('comeback_pool_low{pool="memory"} 0')
  expect(await warnings()).not.toContain('poolLow')
})
