import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { quietLog } from '../../../test/support/quiet-log.ts'
import { type InstanceId, newId, type OperationId } from '../../domain/ids.ts'
import type { MachinesEnvironment } from './environment.ts'
import { Machine } from './machine.ts'
import { freshRecord } from './power.ts'
import { Records } from './record.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'comeback-machine-'))
})
afterAll(() => rm(folder, { recursive: true }))

test('changes of its record that are saved at once are all kept, on the disk too', async () => {
  const records = new Records(folder)
  const environment = { records, log: { child: quietLog } } as unknown as MachinesEnvironment
  const spec = { instance: newId<InstanceId>(), name: 'm', vcpus: 1, ramMib: 32, disks: [], nic: null, directBoot: null }
  const machine = new Machine(environment, freshRecord(spec))
  const [frozenBy, pausedBy] = [newId<OperationId>(), newId<OperationId>()]
  await Promise.all([machine.save({ wanted: true }), machine.save({ frozenBy }), machine.save({ pausedBy })])
  expect(machine.record).toMatchObject({ wanted: true, frozenBy, pausedBy })
  expect(await records.all()).toEqual([machine.record])
})
