/** Between Glance's names and ours, for making and patching. Custom properties are text under any other name. */
import { z } from 'zod'
import type { ImageFields } from '../../../app/image-changes.ts'
import type { ImageRow } from '../../../app/images.ts'
import { refuse } from '../../../domain/refusals.ts'
import { read } from '../../http/bodies.ts'
import { printable } from '../names.ts'

const known = z.object({
  name: printable(255, 0).nullable(),
  visibility: z.enum(['public', 'private', 'shared', 'community']),
  container_format: z.string().max(32).nullable(),
  disk_format: z.string().max(32).nullable(),
  min_disk: z.int32().min(0),
  min_ram: z.int32().min(0),
  protected: z.boolean(),
  os_hidden: z.boolean(),
  tags: z.array(printable(255)).max(128),
})
const properties = z.record(printable(255), z.string().max(65_535)).refine((all) => Object.keys(all).length <= 128, {
  message: 'At most 128 properties are allowed',
})

/** Said by us, never by a client. */
const readOnly = new Set([
  ...['id', 'status', 'owner', 'size', 'virtual_size', 'checksum', 'os_hash_algo', 'os_hash_value', 'created_at'],
  ...['updated_at', 'self', 'file', 'schema', 'direct_url', 'locations', 'stores', 'base_image_ref', 'image_type'],
  ...['bdm_v2', 'block_device_mapping', 'root_device_name', 'instance_uuid'],
])

export const isReadOnly = (name: string): boolean => readOnly.has(name)
export const isKnown = (name: string): boolean => Object.hasOwn(known.shape, name)

const fresh: ImageFields = {
  name: null,
  visibility: 'shared',
  container_format: null,
  disk_format: null,
  min_disk_gib: 0,
  min_ram_mib: 0,
  protected: false,
  os_hidden: false,
  tags: [],
  properties: {},
}

/** `id` and an owner that is oneself may stand in a request to make an image. */
export function fieldsOfNew(body: unknown, project: string): { id: string | null; fields: ImageFields } {
  const all = read(z.record(z.string(), z.unknown()), body)
  const { id = null, owner = project, ...rest } = all
  if (id !== null && typeof id !== 'string') throw refuse.malformed({ why: 'An image id is a UUID in lower case.' })
  if (owner !== project) throw refuse.forbidden({ rule: 'add_image' })
  return { id, fields: apply(fresh, rest) }
}

export const fieldsOf = (image: ImageRow): ImageFields => ({
  name: image.name,
  visibility: image.visibility,
  container_format: image.container_format,
  disk_format: image.disk_format,
  min_disk_gib: image.min_disk_gib,
  min_ram_mib: image.min_ram_mib,
  protected: image.protected,
  os_hidden: image.os_hidden,
  tags: image.tags,
  properties: image.properties,
})

/** The fields with those named in `change`, by Glance's names. */
export function apply(fields: ImageFields, change: Readonly<Record<string, unknown>>): ImageFields {
  const forbidden = Object.keys(change).find(isReadOnly)
  if (forbidden !== undefined) throw refuse.readOnly({ name: forbidden })
  const entries = Object.entries(change)
  const {
    min_disk = fields.min_disk_gib,
    min_ram = fields.min_ram_mib,
    ...rest
  } = read(known.partial(), Object.fromEntries(entries.filter(([name]) => isKnown(name))))
  const custom = read(properties, { ...fields.properties, ...Object.fromEntries(entries.filter(([name]) => !isKnown(name))) })
  const given = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined))
  return { ...fields, ...given, min_disk_gib: min_disk, min_ram_mib: min_ram, properties: custom }
}

export function withoutProperty(fields: ImageFields, name: string): ImageFields {
  if (isReadOnly(name) || isKnown(name)) throw refuse.readOnly({ name })
  if (!Object.hasOwn(fields.properties, name)) throw refuse.noProperty({ name })
  const { [name]: _removed, ...properties } = fields.properties
  return { ...fields, properties }
}
