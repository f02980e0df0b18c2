/** Making and changing images: their records. Their data comes by `Commands.importImage`. */
import { sql } from 'kysely'
import { type ImageId, isUuid, newId } from '../domain/ids.ts'
import { refuse } from '../domain/refusals.ts'
import type { Db } from '../ports/tables.ts'
import type { Caller } from './caller.ts'
import { findOwnImage, type ImageRow } from './images.ts'
import type { Reads } from './reads.ts'

export type ImageFields = {
  readonly name: string | null
  readonly visibility: ImageRow['visibility']
  readonly container_format: string | null
  readonly disk_format: string | null
  readonly min_disk_gib: number
  readonly min_ram_mib: number
  readonly protected: boolean
  readonly os_hidden: boolean
  readonly tags: readonly string[]
  readonly properties: Readonly<Record<string, string>>
}

/** What can be imported: disks, and the kernels and ramdisks that boot them. */
export const diskFormats = ['raw', 'qcow2', 'aki', 'ari'] as const
export const containerFormats = ['bare', 'aki', 'ari'] as const

export async function createImage(reads: Reads, caller: Caller, id: string | null, fields: ImageFields): Promise<ImageRow> {
  reads.policy.require(caller, 'add_image')
  requireFormats(fields)
  if (fields.visibility === 'public') reads.policy.require(caller, 'publicize_image')
  if (id !== null && !isUuid(id)) throw refuse.malformed({ why: 'An image id is a UUID in lower case.' })
  const made = await reads.db
    .insertInto('images')
    .values({ id: (id as ImageId | null) ?? newId<ImageId>(), project_id: caller.project, status: 'queued', ...stored(fields) })
    .onConflict((conflict) => conflict.doNothing())
    .returningAll()
    .executeTakeFirst()
  if (!made) throw refuse.nameTaken({ what: 'Image ID', name: id ?? '' })
  return made
}

/** Formats are fixed once there is data. */
export async function updateImage(reads: Reads, caller: Caller, before: ImageRow, fields: ImageFields): Promise<ImageRow> {
  reads.policy.require(caller, 'modify_image', { project_id: before.project_id })
  if (fields.visibility === 'public' && before.visibility !== 'public') reads.policy.require(caller, 'publicize_image')
  if (fields.visibility === 'community' && before.visibility !== 'community')
    reads.policy.require(caller, 'communitize_image', { project_id: before.project_id })
  for (const name of ['container_format', 'disk_format'] as const)
    if (before.status !== 'queued' && fields[name] !== before[name]) throw refuse.readOnly({ name })
  requireFormats(fields)
  return await reads.db
    .updateTable('images')
    .set({ ...stored(fields), updated_at: new Date() })
    .where('id', '=', before.id)
    .returningAll()
    .executeTakeFirstOrThrow()
}

const stored = ({ tags, properties, ...rest }: ImageFields) => ({
  ...rest,
  tags: [...new Set(tags)],
  properties: JSON.stringify(properties),
})

function requireFormats({ disk_format: disk, container_format: container }: ImageFields): void {
  const known = (all: readonly string[], one: string | null) => one === null || all.includes(one)
  if (!known(diskFormats, disk)) throw refuse.malformed({ why: `disk_format must be one of ${diskFormats.join(', ')}.` })
  if (!known(containerFormats, container))
    throw refuse.malformed({ why: `container_format must be one of ${containerFormats.join(', ')}.` })
  const blob = (format: string | null) => format === 'aki' || format === 'ari'
  if (disk && container && (blob(disk) || blob(container)) && disk !== container)
    throw refuse.malformed({ why: 'Kernels and ramdisks have the same disk_format and container_format: aki or ari.' })
}

/** From here on nobody else uploads to it; `abandonUpload` or the import ends that. */
export async function beginUpload(reads: Reads, caller: Caller, id: string): Promise<ImageRow> {
  const image = await findOwnImage(reads, caller, id, 'upload_image')
  if (image.disk_format === null || image.container_format === null)
    throw refuse.malformed({ why: 'Properties disk_format, container_format must be set prior to saving data.' })
  const claimed = await reads.db
    .updateTable('images')
    .set({ status: 'saving', updated_at: new Date() })
    .where('id', '=', image.id)
    .where('status', '=', 'queued')
    .returningAll()
    .executeTakeFirst()
  if (!claimed) throw refuse.imageWrongState({ id, state: image.status, needs: 'queued' })
  return claimed
}

export async function abandonUpload(db: Db, id: ImageId): Promise<void> {
  await db
    .updateTable('images')
    .set({ status: 'queued', updated_at: new Date() })
    .where('id', '=', id)
    .where('status', '=', 'saving')
    .execute()
}

/** No upload takes a day: what a stopped server left behind can be tried again. */
export async function abandonOldUploads(db: Db): Promise<void> {
  await db
    .updateTable('images')
    .set({ status: 'queued' })
    .where('status', '=', 'saving')
    .where('updated_at', '<', sql<Date>`now() - interval '1 day'`)
    .where(sql<boolean>`not exists (select from locks where resource = 'image:' || images.id)`)
    .where('instance_id', 'is', null)
    .execute()
}
