import { z } from 'zod'
import { consistencies } from '../src/domain/volume.ts'
import { endpoint } from './endpoint.ts'
import { started } from './operations.ts'
import {
  backupId,
  bytes,
  description,
  disks,
  everybody,
  instanceId,
  labels,
  name,
  operationId,
  page,
  pageOf,
  snapshotId,
  time,
  vaultId,
  volumeId,
} from './words.ts'

export const backup = z
  .object({
    id: backupId,
    name: z.string(),
    description,
    state: z.enum(['pending', 'creating', 'available', 'restoring', 'deleting', 'failed']),
    fail_reason: z.string().nullable().describe('Why it failed'),
    volume: volumeId,
    volume_name: z.string(),
    volume_exists: z.boolean().describe('Else it can only be restored to a new volume'),
    instance: z
      .object({ id: z.string(), name: z.string(), device: z.string() })
      .nullable()
      .describe('What the volume was attached to'),
    vault: vaultId,
    vault_name: z.string(),
    size_bytes: bytes.describe('Of the volume'),
    read_bytes: bytes.nullable().describe('What had to be read for it; null until it is available'),
    stored_bytes: bytes.nullable().describe('What it added to the vault; null until it is available'),
    changes_since: backupId
      .nullable()
      .describe('Only changes since this one were read; null: everything was. Neither needs the other'),
    read_all_because: z.string().nullable(),
    root_hash: z.string().nullable().describe('Of all it holds: within a project, the same content has the same'),
    snapshot: snapshotId.nullable().describe('The snapshot that it is made of, if it is'),
    consistency: z.enum(consistencies).nullable().describe('What was achieved'),
    consistency_because: z.string().nullable().describe('Why it is less than was asked for'),
    damage: z.string().nullable().describe('What the last verification found; null: nothing'),
    verified_at: time.nullable(),
    project: z.string(),
    operation: operationId,
    metadata: labels,
    created_at: time,
  })
  .meta({ id: 'Backup' })
export type BackupView = z.output<typeof backup>

const ofBackup = z.strictObject({ backup: backupId })
const noun = 'backups'

const asked = {
  description: description.default(null),
  metadata: labels.default({}),
  consistency: z
    .enum(consistencies)
    .default('crash')
    .describe('Other than `crash`: the instance is frozen through the guest agent for a moment; what was achieved is recorded'),
  read: z
    .enum(['auto', 'full'])
    .default('auto')
    .describe('`auto`: only what changed is read, where that can be told. `full`: everything. What is stored is the same'),
}

export const listBackups = endpoint('listBackups', {
  method: 'GET',
  path: '/v1/backups',
  noun,
  summary: 'List backups, latest first',
  query: z.strictObject({
    ...page,
    ...everybody,
    name: name.optional(),
    volume: volumeId.optional(),
    instance: instanceId.optional(),
    vault: vaultId.optional(),
  }),
  answer: pageOf(backup),
})

export const showBackup = endpoint('showBackup', {
  method: 'GET',
  path: '/v1/backups/{backup}',
  noun,
  summary: 'Show a backup',
  params: ofBackup,
  answer: backup,
  refusals: ['notFound'],
})

export const createBackup = endpoint('createBackup', {
  method: 'POST',
  path: '/v1/backups',
  noun,
  summary: 'Back a volume up, attached or not',
  description:
    'The volume is needed only for the moment in which its point is taken; the backup is written from that. Its events tell ' +
    'bytes, rate and remaining time.',
  body: z.strictObject({
    volume: volumeId,
    name: name.optional().describe('Left out: the time'),
    snapshot: snapshotId.optional().describe('One of its snapshots; left out: what it holds now'),
    force: z.boolean().default(true).describe('Also while a running instance writes to it'),
    ...asked,
  }),
  gives: 'operation',
  answer: z.object({ ...started, backup: backupId }),
  refusals: [
    'notFound',
    'volumeWrongState',
    'volumeBusy',
    'volumeCooldown',
    'backupLimit',
    'volumeOperationLimit',
    'noVault',
    'snapshotUnusable',
    'chainTooLong',
    'poolFull',
  ],
})

export const backUpInstance = endpoint('backUpInstance', {
  method: 'POST',
  path: '/v1/instances/{instance}/backups',
  noun,
  summary: 'Back up all, or chosen, disks of an instance as they are at one moment',
  params: z.strictObject({ instance: instanceId }),
  body: z.strictObject({ name: name.optional().describe('Left out: the time'), disks: disks.optional(), ...asked }),
  answer: z.object({ backups: z.array(z.object({ backup: backupId, volume: volumeId, operation: operationId })) }),
  refusals: ['notFound', 'instanceBusy', 'volumeBusy', 'volumeCooldown', 'backupLimit', 'volumeOperationLimit', 'noVault'],
})

export const changeBackup = endpoint('changeBackup', {
  method: 'PATCH',
  path: '/v1/backups/{backup}',
  noun,
  summary: 'Change the name, description or metadata of a backup',
  description: 'The vault keeps those that it was made with.',
  params: ofBackup,
  body: z.strictObject({ name, description, metadata: labels }).partial(),
  answer: backup,
  refusals: ['notFound'],
})

export const deleteBackup = endpoint('deleteBackup', {
  method: 'DELETE',
  path: '/v1/backups/{backup}',
  noun,
  summary: 'Delete a backup',
  description: 'Other backups stay whole. What only it needed leaves the vault with later sweeps.',
  params: ofBackup,
  query: z.strictObject({ confirm: z.string().max(1024).describe('The name of the backup') }),
  gives: 'operation',
  answer: z.object(started),
  refusals: ['notFound', 'notConfirmed', 'resourceBusy', 'backupUnusable', 'vaultUnreachable'],
})
