/** Cinder's forms of volumes and snapshots. */
import type { FastifyRequest } from 'fastify'
import type { SnapshotDetail, VolumeDetail } from '../../../app/volumes.ts'
import { GiB } from '../../../domain/volume.ts'
import { baseUrl } from '../../http/links.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { callerOf } from '../../http/request.ts'
import { speaks } from '../microversions.ts'
import { defaultType } from './types.ts'

type Needs = Pick<ApiNeeds, 'policy' | 'settings'>

export const microseconds = (date: Date): string => date.toISOString().replace('Z', '000')

export const gibOf = (bytes: number): number => Math.ceil(bytes / GiB)

/**
 * Cinder's word for what a volume is or what is being done to it. A rollback of its instance is not shown here: the volume stays
 * in use and attached throughout.
 */
export function volumeStatus({
  state,
  activity,
  attachment,
  filling,
}: Pick<VolumeDetail, 'state' | 'activity' | 'attachment' | 'filling'>): string {
  if (filling && !attachment && (state === 'ready' || state === 'creating')) return 'restoring-backup'
  if (state !== 'ready') return state
  const doing = activity === null ? undefined : doingOf[activity]
  if (doing !== undefined && !(activity === 'replace-heads' && attachment)) return doing
  return attachment ? 'in-use' : 'available'
}

const doingOf: Readonly<Record<string, string>> = {
  'create-volume': 'creating',
  'extend-volume': 'extending',
  'attach-volume': 'attaching',
  'detach-volume': 'detaching',
  'delete-volume': 'deleting',
  'replace-heads': 'reverting',
}

export const volumeBrief = (request: FastifyRequest, { settings }: Needs, { id, name, project_id }: VolumeDetail) => ({
  id,
  name,
  links: linksOf(request, settings.publicUrl, project_id, 'volumes', id),
})

export function volumeView(request: FastifyRequest, needs: Needs, volume: VolumeDetail) {
  const since = (minor: number) => speaks(request, minor)
  const hosts = needs.policy.allows(callerOf(request), 'volume_extension:volume_host_attribute', {
    project_id: volume.project_id,
  })
  return {
    ...volumeBrief(request, needs, volume),
    description: volume.description,
    status: volumeStatus(volume),
    size: gibOf(volume.size_bytes),
    availability_zone: 'nova',
    attachments: attachmentsOf(volume, hosts),
    bootable: String(volume.bootable),
    volume_type: defaultType.name,
    metadata: volume.metadata,
    ...(volume.image_metadata ? { volume_image_metadata: volume.image_metadata } : {}),
    snapshot_id: volume.source_snapshot_id,
    source_volid: volume.source_volume_id,
    user_id: volume.user_id,
    created_at: microseconds(volume.created_at),
    updated_at: microseconds(volume.updated_at),
    encrypted: false,
    multiattach: false,
    replication_status: null,
    consistencygroup_id: null,
    'os-vol-tenant-attr:tenant_id': volume.project_id,
    ...(hosts
      ? {
          'os-vol-host-attr:host': volume.poolName,
          'os-vol-mig-status-attr:migstat': null,
          'os-vol-mig-status-attr:name_id': null,
        }
      : {}),
    ...(since(13) ? { group_id: null } : {}),
    ...(since(21) && hosts ? { provider_id: null } : {}),
    ...(since(48) ? { service_uuid: null, shared_targets: false } : {}),
    ...(since(61) && hosts ? { cluster_name: null } : {}),
    ...(since(63) ? { volume_type_id: defaultType.id } : {}),
    ...(since(65) ? { consumes_quota: true } : {}),
  }
}

const attachmentsOf = ({ attachment }: VolumeDetail, hosts: boolean) =>
  attachment === null
    ? []
    : [
        {
          id: attachment.volume_id,
          attachment_id: attachment.id,
          volume_id: attachment.volume_id,
          server_id: attachment.instance_id,
          host_name: hosts ? attachment.hostName : null,
          device: `/dev/${attachment.device}`,
          attached_at: microseconds(attachment.attached_at),
        },
      ]

export const snapshotStatus = ({ state }: SnapshotDetail): string => state

export const snapshotBrief = (request: FastifyRequest, snapshot: SnapshotDetail) => ({
  id: snapshot.id,
  name: snapshot.name,
  description: snapshot.description,
  volume_id: snapshot.volume_id,
  status: snapshotStatus(snapshot),
  size: gibOf(snapshot.size_bytes),
  metadata: snapshot.metadata,
  created_at: microseconds(snapshot.created_at),
  updated_at: microseconds(snapshot.updated_at),
  ...(speaks(request, 14) ? { group_snapshot_id: null } : {}),
  ...(speaks(request, 41) ? { user_id: snapshot.user_id } : {}),
  ...(speaks(request, 65) ? { consumes_quota: true } : {}),
})

export const snapshotView = (request: FastifyRequest, snapshot: SnapshotDetail) => ({
  ...snapshotBrief(request, snapshot),
  'os-extended-snapshot-attributes:progress': snapshot.state === 'creating' ? '0%' : '100%',
  'os-extended-snapshot-attributes:project_id': snapshot.project_id,
})

export function linksOf(request: FastifyRequest, publicUrl: string | null, project: string, collection: string, id: string) {
  const base = `${baseUrl(request, publicUrl)}/volume`
  return [
    { rel: 'self', href: `${base}/v3/${project}/${collection}/${id}` },
    { rel: 'bookmark', href: `${base}/${project}/${collection}/${id}` },
  ]
}
