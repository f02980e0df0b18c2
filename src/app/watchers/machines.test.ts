import { expect, test } from 'vitest'
import { makeCloud } from '../../../test/support/cloud.ts'
import type { MachineView } from '../../ports/host-agent.ts'
import { reconcileHost } from './machines.ts'

test('a machine that died is started again; one of which nothing is known is left alone; one that shut down is stopped', async () => {
  const cloud = await makeCloud('one')
  const instance = await cloud.makeInstance(0)
  const { host_id: host } = await cloud.db
    .selectFrom('instances')
    .select('host_id')
    .where('id', '=', instance)
    .executeTakeFirstOrThrow()
  const look = async (view: Pick<MachineView, 'state' | 'wanted'>, shutDown = false) => {
    const machines = async () => [{ instance, pausedBecause: null, heads: {}, startedAt: null, shutDown, ...view }]
    await reconcileHost({ db: cloud.db, operations: cloud.operations, hosts: () => ({ machines }) }, host!)
    const starts = await cloud.db.selectFrom('operations').select('id').where('kind', '=', 'start-instance').execute()
    for (const { id } of starts) await cloud.operations.ended(id)
    const { state } = await cloud.db
      .selectFrom('instances')
      .select('state')
      .where('id', '=', instance)
      .executeTakeFirstOrThrow()
    return { starts: starts.length, state }
  }
  expect(await look({ state: 'unknown', wanted: true })).toEqual({ starts: 0, state: 'running' })
  expect(await look({ state: 'off', wanted: true })).toEqual({ starts: 1, state: 'running' })
  expect(await look({ state: 'off', wanted: false })).toEqual({ starts: 1, state: 'stopped' })
  expect(await look({ state: 'unknown', wanted: true })).toEqual({ starts: 1, state: 'stopped' })
})
