/** The list of sagas: recovery, the failpoints and the crash tests walk it. */
import { createInstance } from './create-instance.ts'
import { createVolume } from './create-volume.ts'
import { deleteBackup } from './delete-backup.ts'
import { deleteInstance } from './delete-instance.ts'
import { deleteImage, deleteSnapshots, deleteVolume } from './delete-names.ts'
import { importImage } from './import-image.ts'
import { mergeLayers } from './merge-layers.ts'
import { rebootInstance, startInstance, stopInstance } from './power.ts'
import { recoverPool } from './recover-pool.ts'
import { recoverVault } from './recover-vault.ts'
import { removeLayers } from './remove-layers.ts'
import { replaceHeads } from './replace-heads.ts'
import { sweepVault } from './sweep-vault.ts'
import { takePoints } from './take-points.ts'
import { verifyVault } from './verify-vault.ts'
import { attachVolume, detachVolume, extendVolume } from './volume-changes.ts'
import { writeBackup } from './write-backup.ts'

export const sagas = {
  'attach-volume': attachVolume,
  'create-instance': createInstance,
  'create-volume': createVolume,
  'delete-backup': deleteBackup,
  'delete-image': deleteImage,
  'delete-instance': deleteInstance,
  'delete-snapshots': deleteSnapshots,
  'delete-volume': deleteVolume,
  'detach-volume': detachVolume,
  'extend-volume': extendVolume,
  'import-image': importImage,
  'merge-layers': mergeLayers,
  'reboot-instance': rebootInstance,
  'recover-pool': recoverPool,
  'recover-vault': recoverVault,
  'remove-layers': removeLayers,
  'replace-heads': replaceHeads,
  'start-instance': startInstance,
  'stop-instance': stopInstance,
  'sweep-vault': sweepVault,
  'take-points': takePoints,
  'verify-vault': verifyVault,
  'write-backup': writeBackup,
} as const

export type SagaName = keyof typeof sagas

const moving = ['write-backup', 'verify-vault', 'sweep-vault'] as const satisfies readonly SagaName[]
const isMoving = (name: string): boolean => (moving as readonly string[]).includes(name)

/** Those that may move data for hours, and all others, which must never wait for them. */
export const lanes = {
  slow: Object.fromEntries(Object.entries(sagas).filter(([name]) => isMoving(name))),
  quick: Object.fromEntries(Object.entries(sagas).filter(([name]) => !isMoving(name))),
}
