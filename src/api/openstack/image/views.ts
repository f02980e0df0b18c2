/** Glance's form of an image. Custom properties stand among the others. */
import type { ImageRow } from '../../../app/images.ts'
import { GiB } from '../../../domain/volume.ts'
import type { SnapshotOf } from '../../../ports/tables.ts'

const seconds = (date: Date) => date.toISOString().replace(/\.\d+Z$/, 'Z')

export const imageView = (image: ImageRow) => ({
  ...image.properties,
  ...snapshotProperties(image),
  id: image.id,
  name: image.name,
  status: image.status,
  visibility: image.visibility,
  protected: image.protected,
  os_hidden: image.os_hidden,
  owner: image.project_id,
  container_format: image.container_format,
  disk_format: image.disk_format,
  min_disk: image.min_disk_gib,
  min_ram: image.min_ram_mib,
  size: image.snapshot_of ? 0 : image.size_bytes,
  virtual_size: image.virtual_size_bytes,
  checksum: image.checksum,
  os_hash_algo: image.os_hash_algo,
  os_hash_value: image.os_hash_value,
  tags: image.tags,
  created_at: seconds(image.created_at),
  updated_at: seconds(image.updated_at),
  self: `/v2/images/${image.id}`,
  file: `/v2/images/${image.id}/file`,
  schema: '/v2/schemas/image',
})

/** An instance snapshot says which volume snapshots it is made of, as Nova writes it for a machine that boots from volumes. */
function snapshotProperties({ snapshot_of: taken }: ImageRow): Readonly<Record<string, string>> {
  if (!taken) return {}
  const root = taken.disks.find(({ bootIndex }) => bootIndex === 0) ?? taken.disks[0]
  return {
    bdm_v2: 'True',
    block_device_mapping: JSON.stringify(taken.disks.map(mapping)),
    root_device_name: `/dev/${root?.device ?? 'vda'}`,
    base_image_ref: '',
    image_type: 'snapshot',
    instance_uuid: taken.instance,
  }
}

const mapping = (disk: SnapshotOf['disks'][number]) => ({
  source_type: 'snapshot',
  destination_type: 'volume',
  snapshot_id: disk.snapshot,
  disk_bus: 'virtio',
  device_type: 'disk',
  boot_index: disk.bootIndex,
  delete_on_termination: false,
  volume_size: Math.ceil(disk.sizeBytes / GiB),
  device_name: `/dev/${disk.device}`,
  guest_format: null,
  image_id: null,
  volume_id: null,
  no_device: null,
  volume_type: null,
  tag: null,
  encrypted: null,
  encryption_format: null,
  encryption_options: null,
  encryption_secret_uuid: null,
})
