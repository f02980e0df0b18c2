import { z } from 'zod'
import { endpoint } from './endpoint.ts'
import { bytes, hostGroupId, hostId, operationId, page, pageOf, poolId, time } from './words.ts'

export const auditEntry = z
  .object({
    seq: z.int(),
    at: time,
    request_id: z.string(),
    user: z.string().nullable(),
    user_name: z.string().nullable(),
    project: z.string().nullable(),
    project_name: z.string().nullable(),
    action: z.string(),
    target: z.string().nullable(),
    outcome: z.string().describe("'accepted' or the code of the refusal"),
    operation: operationId.nullable(),
  })
  .meta({ id: 'AuditEntry' })

export const listAudit = endpoint('listAudit', {
  method: 'GET',
  path: '/v1/audit',
  noun: 'administration',
  summary: 'Who asked for what, and what came of it; latest first',
  who: 'admin',
  query: z.strictObject({
    limit: page.limit,
    after: z.coerce.number<string | number>().int().min(1).optional().describe('`next` of the page before'),
    user: z.string().max(255).optional().describe('By id or name'),
    project: z.string().max(255).optional().describe('By id or name'),
    action: z.string().max(255).optional(),
    request_id: z.string().max(64).optional(),
    since: time.optional(),
  }),
  answer: pageOf(auditEntry),
})

/** What a done `recover-pool` operation has as its `result`. */
export const recoveryResult = z
  .object({
    volumes_added: z.int(),
    volumes_moved: z.int().describe('Whose disks were newer than their rows'),
    snapshots_added: z.int(),
    problems: z.array(z.string()).describe('What could not be taken over, or belongs to nobody; nothing was done to it'),
  })
  .meta({ id: 'RecoveryResult' })

export const recoverPools = endpoint('recoverPools', {
  method: 'POST',
  path: '/v1/recoveries',
  noun: 'administration',
  summary: 'Bring the database forward to what the pools say of themselves',
  description:
    'After the database was lost or an older copy of it restored: one operation a pool. Nothing is deleted, and nothing goes back.',
  who: 'admin',
  body: z.strictObject({ pools: z.array(poolId).min(1).max(1000).optional().describe('Left out: all') }),
  answer: z.object({ operations: z.array(operationId) }),
  refusals: ['notFound', 'resourceBusy'],
})

export const pool = z
  .object({
    id: poolId,
    name: z.string(),
    kind: z.enum(['qcow2', 'rbd', 'memory']),
    total_bytes: bytes,
    free_bytes: bytes,
    low_since: time
      .nullable()
      .describe('Since when it has had less free space than is warned of; when it is full, guests are held'),
    measured_at: time.nullable(),
    volumes: z.int(),
    provisioned_bytes: bytes.describe('Sum of the sizes of its volumes'),
    hosts: z.array(z.string()),
  })
  .meta({ id: 'Pool' })

export const listPools = endpoint('listPools', {
  method: 'GET',
  path: '/v1/pools',
  noun: 'administration',
  summary: 'Storage pools and their space',
  who: 'admin',
  answer: pageOf(pool),
})

export const host = z
  .object({
    id: hostId,
    name: z.string(),
    enabled: z.boolean(),
    disabled_reason: z.string().nullable(),
    seen_at: time.nullable(),
    qemu_version: z.string().nullable(),
    accelerator: z.enum(['kvm', 'tcg']).nullable(),
    vcpus: z.int().nullable(),
    memory_mib: z.int().nullable(),
    instances: z.int().describe('How many run there'),
    group: z.object({ id: hostGroupId, name: z.string() }).nullable(),
  })
  .meta({ id: 'Host' })

export const listHosts = endpoint('listHosts', {
  method: 'GET',
  path: '/v1/hosts',
  noun: 'administration',
  summary: 'Hosts, and when their agents were last seen',
  who: 'admin',
  answer: pageOf(host),
})
