import { z } from 'zod'
import { instanceStates } from '../src/domain/instance.ts'
import { endpoint } from './endpoint.ts'
import { bytes, everybody, flavorId, instanceId, labels, name, operationId, page, pageOf, time, volumeId } from './words.ts'

export const busyWith = z
  .object({ operation: operationId, kind: z.string() })
  .nullable()
  .describe('The operation that holds it; null: none')

export const instance = z
  .object({
    id: instanceId,
    name: z.string(),
    state: z.enum(instanceStates),
    busy_with: busyWith,
    paused_because: z.string().nullable(),
    fault: z.string().nullable(),
    project: z.string(),
    host: z.string().nullable(),
    flavor: z.object({ id: flavorId, name: z.string(), vcpus: z.int(), ram_mib: z.int() }),
    addresses: z.array(z.string()),
    metadata: labels,
    created_at: time,
    disks: z.array(
      z.object({ device: z.string(), volume: volumeId, name: z.string(), size_bytes: bytes, boot_index: z.int().nullable() }),
    ),
  })
  .meta({ id: 'Instance' })
export type InstanceView = z.output<typeof instance>

export const listInstances = endpoint('listInstances', {
  method: 'GET',
  path: '/v1/instances',
  noun: 'instances',
  summary: 'List instances',
  query: z.strictObject({ ...page, ...everybody, name: name.optional() }),
  answer: pageOf(instance),
})

export const showInstance = endpoint('showInstance', {
  method: 'GET',
  path: '/v1/instances/{instance}',
  noun: 'instances',
  summary: 'Show an instance and its disks',
  params: z.strictObject({ instance: instanceId }),
  answer: instance,
  refusals: ['notFound'],
})
