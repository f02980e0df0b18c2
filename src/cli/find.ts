/** Names on the command line to ids: an id is taken as it is; a name must be that of exactly one thing. */
import type { BackupView } from '../../contract/backups.ts'
import { endpoints } from '../../contract/index.ts'
import type { InstanceView } from '../../contract/instances.ts'
import type { PlanView } from '../../contract/plans.ts'
import type { SnapshotTreeView, TreeNode } from '../../contract/snapshots.ts'
import type { HostGroupView, VaultView } from '../../contract/vaults.ts'
import type { VolumeSnapshotView } from '../../contract/volume-snapshots.ts'
import type { VolumeView } from '../../contract/volumes.ts'
import { usage } from './exit.ts'
import { clean, when } from './output.ts'
import type { Session } from './session.ts'

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i
export const isId = (text: string): boolean => uuid.test(text)

export async function findInstance({ client }: Session, text: string): Promise<InstanceView> {
  if (isId(text)) return await client.call(endpoints.showInstance, { params: { instance: text } })
  const { items } = await client.call(endpoints.listInstances, { query: { name: text } })
  return only('instance', text, items, ({ id, state }) => `${id} (${state})`)
}

export async function findVolume({ client }: Session, text: string): Promise<VolumeView> {
  if (isId(text)) return await client.call(endpoints.showVolume, { params: { volume: text } })
  const { items } = await client.call(endpoints.listVolumes, { query: { name: text } })
  return only('volume', text, items, ({ id, size_bytes }) => `${id} (${size_bytes} bytes)`)
}

export async function findPlan({ client }: Session, text: string): Promise<PlanView> {
  const { items } = await client.call(endpoints.listPlans, {})
  return named('plan', text, items)
}

export async function findBackup({ client }: Session, text: string): Promise<BackupView> {
  if (isId(text)) return await client.call(endpoints.showBackup, { params: { backup: text } })
  const { items } = await client.call(endpoints.listBackups, { query: { name: text } })
  return only(
    'backup',
    text,
    items,
    ({ id, volume_name, created_at }) => `${id} (of ${clean(volume_name)}, ${when(created_at)})`,
  )
}

/** An id is taken as it is: only administrators see the pools. */
export async function findPool({ client }: Session, text: string): Promise<string> {
  if (isId(text)) return text
  const { items } = await client.call(endpoints.listPools, {})
  return named('pool', text, items).id
}

export async function findVault({ client }: Session, text: string): Promise<VaultView> {
  const { items } = await client.call(endpoints.listVaults, {})
  return named('vault', text, items)
}

export async function findHostGroup({ client }: Session, text: string): Promise<HostGroupView> {
  const { items } = await client.call(endpoints.listHostGroups, {})
  return named('host group', text, items)
}

export async function findHost({ client }: Session, text: string): Promise<{ readonly id: string; readonly name: string }> {
  const { items } = await client.call(endpoints.listHosts, {})
  return named('host', text, items)
}

/** One of a volume's snapshots, of any kind. */
export async function findVolumeSnapshot({ client }: Session, volume: VolumeView, text: string): Promise<VolumeSnapshotView> {
  const { items } = await client.call(endpoints.listVolumeSnapshots, { query: { volume: volume.id, limit: 1000 } })
  const found = items.filter(({ id, name }) => id === text || name === text)
  return only(`snapshot of ${clean(volume.name)}`, text, found, ({ id, created_at }) => `${id} (${when(created_at)})`)
}

/** A node of the tree by its id, the id of one of its volume snapshots, or its name. */
export function findNode({ nodes, instance_name }: SnapshotTreeView, text: string): TreeNode {
  const byId = nodes.filter(({ key, disks }) => key === text || disks.some(({ snapshot }) => snapshot === text))
  const found = byId.length > 0 ? byId : nodes.filter(({ name }) => name === text)
  const what = `snapshot of ${clean(instance_name)}`
  return only(what, text, found, ({ key, taken_at }) => `${key} (${when(taken_at)})`)
}

const named = <Thing extends { readonly id: string; readonly name: string }>(
  what: string,
  text: string,
  all: readonly Thing[],
) =>
  only(
    what,
    text,
    all.filter(({ id, name }) => id === text || name === text),
    ({ id }) => id,
  )

export function only<Thing>(what: string, text: string, found: readonly Thing[], describe: (thing: Thing) => string): Thing {
  const [first, second] = found
  if (first === undefined) throw usage(`There is no ${what} '${clean(text)}'.`)
  if (second === undefined) return first
  throw usage(`There are several ${what}s '${clean(text)}'; name one by its id:\n  ${found.map(describe).join('\n  ')}`)
}
