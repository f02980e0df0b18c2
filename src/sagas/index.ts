/** The list of sagas: recovery, the failpoints and the crash tests walk it. */
import { createInstance } from './create-instance.ts'
import { createVolume } from './create-volume.ts'
import { deleteInstance } from './delete-instance.ts'
import { deleteImage, deleteSnapshots, deleteVolume } from './delete-names.ts'
import { importImage } from './import-image.ts'
import { mergeLayers } from './merge-layers.ts'
import { rebootInstance, startInstance, stopInstance } from './power.ts'
import { recoverPool } from './recover-pool.ts'
import { removeLayers } from './remove-layers.ts'
import { replaceHeads } from './replace-heads.ts'
import { takePoints } from './take-points.ts'
import { attachVolume, detachVolume, extendVolume } from './volume-changes.ts'

export const sagas = {
  'attach-volume': attachVolume,
  'create-instance': createInstance,
  'create-volume': createVolume,
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
  'remove-layers': removeLayers,
  'replace-heads': replaceHeads,
  'start-instance': startInstance,
  'stop-instance': stopInstance,
  'take-points': takePoints,
} as const

export type SagaName = keyof typeof sagas
