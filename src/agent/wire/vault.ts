/** The shapes of calls about vaults, as zod schemas of the port's own types. */
import { z } from 'zod'
import { asId, type BackupId, type ProjectId, type VaultId } from '../../domain/ids.ts'
import { bytes, id, layerId, pointRef, poolId, volumeId } from './schemas.ts'

export const vaultId = id<VaultId>()
const backupId = id<BackupId>()
const projectId = z
  .string()
  .regex(/^[A-Za-z0-9-]{1,64}$/)
  .transform((given) => asId<ProjectId>(given))

const text = z.string().max(65_536)
const texts = z.record(z.string().max(255), text)
const directory = z.string().min(1).max(1024)

export const vaultPlace = z.strictObject({ kind: z.literal('directory'), directory })

export const vaultAccess = z.strictObject({
  vault: vaultId,
  place: vaultPlace,
  key: z.base64().length(44),
  bytesPerSecond: z.number().positive().nullable(),
  parallel: z.number().int().min(1).max(256),
})

export const keySlot = z.strictObject({
  id: z.string().max(64),
  createdAt: z.string().max(64),
  salt: z.string().max(256),
  nonce: z.string().max(256),
  wrapped: z.string().max(1024),
})

export const vaultIdentity = z.strictObject({
  format: z.literal(1),
  vault: vaultId,
  name: z.string().max(255),
  createdAt: z.string().max(64),
  slots: z.array(keySlot).max(64),
})

export const backupRef = z.strictObject({ volume: volumeId, backup: backupId, project: projectId })

const sourcePoint = z.strictObject({
  pool: poolId,
  point: pointRef,
  chain: z.array(layerId).min(1).max(256),
  sizeBytes: bytes,
})

const backupFacts = z.strictObject({
  name: text,
  description: text.nullable(),
  createdAt: z.string().max(64),
  volumeName: text,
  projectName: text,
  bootable: z.boolean(),
  metadata: texts,
  imageMetadata: texts.nullable(),
  consistency: z.enum(['application', 'filesystem', 'crash']),
  instance: z.strictObject({ id: z.string().max(64), name: text, device: z.string().max(64) }).nullable(),
})

export const writeBackup = z.strictObject({
  of: backupRef,
  source: sourcePoint,
  previous: z.strictObject({ backup: backupId, point: sourcePoint.nullable(), whyNot: text.nullable() }).nullable(),
  facts: backupFacts,
})

export const backupOutcome = z.strictObject({
  rootHash: z.string(),
  sizeBytes: bytes,
  readBytes: bytes,
  storedBytes: bytes,
  base: backupId.nullable(),
  why: z.string().nullable(),
})

export const restoreBackup = z.strictObject({
  of: backupRef,
  rootHash: z.string().max(256),
  target: z.strictObject({ pool: poolId, layer: layerId, sizeBytes: bytes }),
})

export const restoreOutcome = z.strictObject({ writtenBytes: bytes })

export const testOutcome = z.strictObject({ freeBytes: bytes.nullable(), sharesDiskWith: z.array(z.string()) })

export const foundBackup = backupRef.extend({ rootHash: z.string(), sizeBytes: bytes, storedBytes: bytes, facts: backupFacts })

export const verifyOutcome = z.strictObject({
  backups: bytes,
  readBytes: bytes,
  damage: z.array(z.strictObject({ object: z.string(), what: z.string(), backups: z.array(backupRef) })),
})

export const sweepOutcome = z.strictObject({ removedObjects: bytes, removedBytes: bytes, markedObjects: bytes })

export const moveProgress = z.strictObject({ doneBytes: bytes, totalBytes: bytes, bytesPerSecond: z.number().nonnegative() })
