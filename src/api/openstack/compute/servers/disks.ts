/** Nova's block device mapping, version 2: which disks a new instance gets. */
import { z } from 'zod'
import type { CreateInstance, DiskSource } from '../../../../app/commands.ts'
import { asId, type ImageId, isUuid, type SnapshotId, type VolumeId } from '../../../../domain/ids.ts'
import { refuse } from '../../../../domain/refusals.ts'
import { GiB } from '../../../../domain/volume.ts'

type Disk = CreateInstance['disks'][number]

/** Clients send numbers as text too. */
const whole = (min: number, max: number) =>
  z
    .union([
      z.int(),
      z
        .string()
        .regex(/^-?\d{1,9}$/, { message: 'It must be a whole number' })
        .transform(Number),
    ])
    .pipe(z.int().min(min).max(max))

export const flag = z.union([
  z.boolean(),
  z.stringFormat('boolean', /^(true|false)$/i).transform((text) => text.toLowerCase() === 'true'),
])

export const mapping = z.strictObject({
  source_type: z.enum(['image', 'volume', 'snapshot', 'blank']),
  destination_type: z.enum(['volume', 'local']).nullish(),
  uuid: z.string().max(64).nullish(),
  boot_index: whole(-1, 64).nullish(),
  delete_on_termination: flag.nullish(),
  volume_size: whole(1, 65_536).nullish(),
  device_name: z
    .string()
    .regex(/^(\/dev\/)?[a-z]{1,16}$/, { message: 'A device name is like /dev/vdb' })
    .nullish(),
  disk_bus: z.literal('virtio').nullish(),
  device_type: z.literal('disk').nullish(),
  guest_format: z.null({ error: 'Swap and other disks that come formatted are not offered' }).optional(),
  no_device: z.literal(false).nullish(),
  volume_type: z.literal('__DEFAULT__').nullish(),
  tag: z
    .string()
    .min(1)
    .max(60)
    .regex(/^[^,/]+$/)
    .nullish(),
})

export type Mapping = z.infer<typeof mapping>

export function diskOf(entry: Mapping): Disk {
  const { boot_index: index, device_name: device } = entry
  return {
    source: sourceOf(entry),
    bootIndex: index === undefined || index === null || index < 0 ? null : index,
    deleteOnTermination: entry.delete_on_termination ?? false,
    device: device?.replace('/dev/', '') ?? null,
    tag: entry.tag ?? null,
  }
}

/** A disk on the host itself is a volume here as well, when it starts as an image; an empty one is not offered. */
function sourceOf(entry: Mapping): DiskSource {
  const { source_type: from, uuid, destination_type: to } = entry
  const sizeBytes = entry.volume_size ? entry.volume_size * GiB : null
  if (to === 'local' && from !== 'image')
    throw refuse.malformed({ why: `Disks of source_type ${from} have destination_type volume here.` })
  if (from === 'blank') {
    if (sizeBytes === null)
      throw refuse.malformed({ why: 'Blank volumes (source: blank, dest: volume) need to have non-zero size' })
    return { from, sizeBytes }
  }
  if (!uuid || !isUuid(uuid)) throw refuse.malformed({ why: `Missing or malformed uuid for a disk of source_type ${from}.` })
  if (from === 'image') return { from, image: asId<ImageId>(uuid), sizeBytes }
  if (from === 'snapshot') return { from, snapshot: asId<SnapshotId>(uuid), sizeBytes }
  return { from, volume: asId<VolumeId>(uuid) }
}
