/**
 * An instance (Nova: server).
 *
 *   building -> running <-> stopped
 *       |          |           |
 *       +------> error <-------+        error -> running | stopped   (start, rollback)
 *   any -> deleting -> (row kept, deletedAt set)
 *
 * The state is what is true of the machine, not what somebody wants: `running` has a host, and a QEMU process there.
 * What is being done to it (Nova: task_state) is never stored: it is the kind of the operation that holds its lock.
 */
import type { FlavorId, HostId, ImageId, InstanceId, ProjectId, UserId } from './ids.ts'
import { refuse } from './refusals.ts'

export const instanceStates = ['building', 'running', 'stopped', 'error', 'deleting', 'deleted'] as const
export type InstanceState = (typeof instanceStates)[number]

/** The flavor as it was when the instance was made: later changes to the flavor do not touch it. */
export type FlavorSpec = {
  readonly id: FlavorId
  readonly name: string
  readonly vcpus: number
  readonly ramMib: number
  readonly diskGib: number
}

export type Instance = {
  readonly id: InstanceId
  readonly project: ProjectId
  readonly user: UserId
  readonly name: string
  readonly state: InstanceState
  /** The host whose disks and process it has; null only while building or after deletion. */
  readonly host: HostId | null
  readonly flavor: FlavorSpec
  /** Image it was made from; null when made from a volume or a snapshot. */
  readonly image: ImageId | null
}

/** Why an instance is in error, said for its owner. */
export type Fault = { readonly code: number; readonly message: string; readonly at: Date }

/** The one table of what may be asked in which state: faces enforce it, dashboards grey buttons with it. Names are Nova's. */
export const instanceActions = {
  start: ['stopped', 'error'],
  stop: ['running', 'error'],
  reboot: ['running', 'stopped', 'error'],
  createImage: ['running', 'stopped', 'error'],
  createBackup: ['running', 'stopped', 'error'],
  rollback: ['running', 'stopped', 'error'],
  attach_volume: ['running', 'stopped'],
  detach_volume: ['running', 'stopped'],
  delete: ['building', 'running', 'stopped', 'error'],
} as const satisfies Record<string, readonly InstanceState[]>

export type InstanceAction = keyof typeof instanceActions

export const instanceCan = (action: InstanceAction, state: InstanceState): boolean =>
  (instanceActions[action] as readonly InstanceState[]).includes(state)

/** Nova's vm_state for a state. */
export const vmStateOf = {
  building: 'building',
  running: 'active',
  stopped: 'stopped',
  error: 'error',
  deleting: 'active',
  deleted: 'deleted',
} as const satisfies Record<InstanceState, string>

export function requireInstanceFor(action: InstanceAction, instance: Pick<Instance, 'id' | 'state'>): void {
  if (!instanceCan(action, instance.state)) {
    throw refuse.instanceWrongState({ action, id: instance.id, state: vmStateOf[instance.state] })
  }
}

/** How an instance is stopped when nobody says otherwise: asked, and after Nova's usual minute made to. */
export const usualStop = { mode: 'graceful', graceSeconds: 60 } as const

/** A host name made of the instance's name. */
export function hostNameOf({ name, id }: { readonly name: string; readonly id: string }): string {
  const made = name
    .toLowerCase()
    .replaceAll(/[ _]/g, '-')
    .replaceAll(/[^a-z0-9.-]/g, '')
    .replace(/^[.-]+|[.-]+$/g, '')
  return made.slice(0, 63) || `server-${id}`
}
