/** The native interface: every endpoint, and the words in which it answers. */
import * as administration from './administration.ts'
import * as backups from './backups.ts'
import type { Endpoint } from './endpoint.ts'
import * as instances from './instances.ts'
import * as operations from './operations.ts'
import * as plans from './plans.ts'
import * as rollbacks from './rollbacks.ts'
import * as snapshots from './snapshots.ts'
import * as vaults from './vaults.ts'
import * as volumeSnapshots from './volume-snapshots.ts'
import * as volumes from './volumes.ts'

const { listInstances, showInstance } = instances
const { showSnapshotTree, takeInstanceSnapshot, deleteInstanceSnapshot } = snapshots
const { rollBackInstance, preflightInstance, preflightSnapshot } = rollbacks
const { listOperations, showOperation, cancelOperation, forceEndOperation, undoOperation } = operations
const { watchOperation, watchOperations } = operations
const { listVolumes, showVolume, createVolume, changeVolume, deleteVolume, restoreVolume } = volumes
const { listPlans, createPlan, changePlan, deletePlan } = plans
const { listVolumeSnapshots, showVolumeSnapshot, takeVolumeSnapshot, deleteVolumeSnapshot } = volumeSnapshots
const { cleanUpSafetySnapshots } = volumeSnapshots
const { listBackups, showBackup, createBackup, backUpInstance, changeBackup, deleteBackup } = backups
const { listVaults, showVault, createVault, addVault, changeVault, removeVault } = vaults
const { testVault, newRecoveryKey, verifyVault, recoverVault } = vaults
const { listHostGroups, createHostGroup, changeHostGroup, deleteHostGroup, changeHost } = vaults
const { listAudit, listPools, listHosts, recoverPools } = administration

export const endpoints = {
  listInstances,
  showInstance,
  showSnapshotTree,
  takeInstanceSnapshot,
  deleteInstanceSnapshot,
  rollBackInstance,
  preflightInstance,
  preflightSnapshot,
  listOperations,
  showOperation,
  cancelOperation,
  forceEndOperation,
  undoOperation,
  watchOperation,
  watchOperations,
  listVolumes,
  showVolume,
  createVolume,
  changeVolume,
  deleteVolume,
  restoreVolume,
  listPlans,
  createPlan,
  changePlan,
  deletePlan,
  listVolumeSnapshots,
  showVolumeSnapshot,
  takeVolumeSnapshot,
  deleteVolumeSnapshot,
  cleanUpSafetySnapshots,
  listBackups,
  showBackup,
  createBackup,
  backUpInstance,
  changeBackup,
  deleteBackup,
  listVaults,
  showVault,
  createVault,
  addVault,
  changeVault,
  removeVault,
  testVault,
  newRecoveryKey,
  verifyVault,
  recoverVault,
  listHostGroups,
  createHostGroup,
  changeHostGroup,
  deleteHostGroup,
  changeHost,
  listAudit,
  listPools,
  listHosts,
  recoverPools,
} as const satisfies Record<string, Endpoint>
