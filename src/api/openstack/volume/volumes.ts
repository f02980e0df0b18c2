import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import type { DiskSource } from '../../../app/commands.ts'
import { settled } from '../../../app/outcome.ts'
import type { Keys } from '../../../app/paging.ts'
import { changeVolume, findVolume, listVolumes, type VolumeDetail } from '../../../app/volumes.ts'
import { asId, type BackupId, type ImageId, type SnapshotId } from '../../../domain/ids.ts'
import { refuse } from '../../../domain/refusals.ts'
import { GiB } from '../../../domain/volume.ts'
import { read } from '../../http/bodies.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { callerOf } from '../../http/request.ts'
import { speaks } from '../microversions.ts'
import { description, labels, printable } from '../names.ts'
import { boolean, type Query, queryOf } from '../query.ts'
import { evenIfGone } from '../repeats.ts'
import { cinderPage, metadataMatches, nameMatches, whoseOf } from './paging.ts'
import { defaultType } from './types.ts'
import { volumeBrief, volumeStatus, volumeView } from './views.ts'

type ById = { Params: { id: string } }

export const size = z
  .union([
    z.int(),
    z
      .string()
      .regex(/^\d{1,9}$/, { message: 'It must be a whole number' })
      .transform(Number),
  ])
  .pipe(z.int().min(1).max(65_536))
const name = printable(255, 0)

const creation = z.strictObject({
  volume: z.strictObject({
    size: size.nullish(),
    name: name.nullish(),
    display_name: name.nullish(),
    description: description.nullish(),
    display_description: description.nullish(),
    metadata: labels.nullish(),
    snapshot_id: z.uuid().nullish(),
    imageRef: z.uuid().nullish(),
    image_id: z.uuid().nullish(),
    volume_type: z
      .union([z.literal(defaultType.name), z.literal(defaultType.id)], {
        message: `There is one volume type: ${defaultType.name}`,
      })
      .nullish(),
    availability_zone: z.literal('nova', { message: 'There is one availability zone: nova' }).nullish(),
    multiattach: z.literal(false, { message: 'One volume, one instance: multiattach is not offered' }).nullish(),
    source_volid: z
      .null({ message: 'Copying a volume is not offered: make a snapshot of it, and a volume from that' })
      .optional(),
    backup_id: z.uuid().nullish(),
    consistencygroup_id: z.null({ message: 'Groups are not offered' }).optional(),
    group_id: z.null({ message: 'Groups are not offered' }).optional(),
  }),
})
const change = z.strictObject({
  volume: z.strictObject({
    name: name.nullish(),
    display_name: name.nullish(),
    description: description.nullish(),
    display_description: description.nullish(),
    metadata: labels.optional(),
  }),
})

const keys: Keys<VolumeDetail> = {
  created_at: ({ created_at }) => created_at,
  updated_at: ({ updated_at }) => updated_at,
  name: ({ name }) => name,
  display_name: ({ name }) => name,
  size: ({ size_bytes }) => size_bytes,
  status: volumeStatus,
  id: ({ id }) => id,
  bootable: ({ bootable }) => bootable,
  availability_zone: () => 'nova',
  host: ({ poolName }) => poolName,
}

export function volumes(app: FastifyInstance, needs: ApiNeeds): void {
  const { commands, policy } = needs

  for (const [path, view] of [
    ['/v3/volumes', volumeBrief],
    ['/v3/volumes/detail', volumeView],
  ] as const)
    app.get(path, async (request) => {
      policy.require(callerOf(request), 'volume:get_all')
      const query = queryOf(request)
      const found = (await listVolumes(needs, whoseOf(request, needs))).filter((volume) => matches(volume, query))
      const { items, around } = cinderPage(request, needs, 'volumes', found, keys)
      return { volumes: items.map((volume) => view(request, needs, volume)), ...around }
    })

  app.post('/v3/volumes', async (request, reply) => {
    request.audited.action = 'volume:create'
    const caller = callerOf(request)
    policy.require(caller, 'volume:create')
    const { volume } = read(creation, request.body)
    if (volume.backup_id && !speaks(request, 47))
      throw refuse.malformed({ why: 'A volume from a backup needs microversion 3.47: send it, or restore the backup.' })
    const described = {
      name: volume.name ?? volume.display_name ?? '',
      description: volume.description ?? volume.display_description ?? null,
      metadata: volume.metadata ?? {},
    }
    const started = volume.backup_id
      ? await commands.createVolumeFromBackup(caller, { ...described, ...fromBackup(volume, volume.backup_id) })
      : await commands.createVolume(caller, { ...described, source: sourceOf(volume) })
    request.audited.operation = started.operation
    request.audited.target = started.volume
    const made = await findVolume(needs, caller, started.volume, 'volume:get')
    const view = volumeView(request, needs, made)
    await settled(needs.operations, started.operation)
    return reply.code(202).send({ volume: view })
  })

  app.get<ById>('/v3/volumes/:id', async (request) => ({
    volume: volumeView(request, needs, await findVolume(needs, callerOf(request), request.params.id, 'volume:get')),
  }))

  app.put<ById>('/v3/volumes/:id', async (request) => {
    request.audited.action = 'volume:update'
    const caller = callerOf(request)
    await findVolume(needs, caller, request.params.id, 'volume:update')
    const { volume } = read(change, request.body)
    const name = volume.name ?? volume.display_name
    const text = volume.description === undefined ? volume.display_description : volume.description
    const changed = await changeVolume(needs, caller, request.params.id, 'volume:update', () => ({
      ...(name == null ? {} : { name }),
      ...(text === undefined ? {} : { description: text }),
      ...(volume.metadata ? { metadata: volume.metadata } : {}),
    }))
    return { volume: volumeView(request, needs, changed) }
  })

  app.delete<ById>('/v3/volumes/:id', async (request, reply) => {
    request.audited.action = 'volume:delete'
    const caller = callerOf(request)
    const { id: name } = request.params
    const id = await evenIfGone(caller, name, findVolume(needs, caller, name, 'volume:delete'))
    const query = queryOf(request)
    if (boolean('force', query.one('force')) === true)
      throw refuse.notImplemented({ what: 'Deleting a volume whatever its state' })
    const { operation } = await commands.deleteVolume(caller, id, {
      cascade: boolean('cascade', query.one('cascade')) ?? false,
    })
    request.audited.operation = operation
    await settled(needs.operations, operation)
    return reply.code(202).send()
  })
}

type Asked = z.infer<typeof creation>['volume']

function fromBackup({ size, snapshot_id, imageRef, image_id }: Asked, backup: string) {
  if (snapshot_id || imageRef || image_id)
    throw refuse.malformed({ why: 'A volume is made from a backup, from a snapshot or from an image, not from several.' })
  return { backup: asId<BackupId>(backup), sizeBytes: size ? size * GiB : null }
}

function sourceOf(volume: Asked): Exclude<DiskSource, { from: 'volume' }> {
  const sizeBytes = volume.size ? volume.size * GiB : null
  const image = volume.imageRef ?? volume.image_id
  if (volume.snapshot_id && image)
    throw refuse.malformed({ why: 'A volume is made from a snapshot or from an image, not from both.' })
  if (volume.snapshot_id) return { from: 'snapshot', snapshot: asId<SnapshotId>(volume.snapshot_id), sizeBytes }
  if (image) return { from: 'image', image: asId<ImageId>(image), sizeBytes }
  if (sizeBytes === null)
    throw refuse.malformed({ why: "Invalid input received: Volume size '0' must be an integer and greater than 0" })
  return { from: 'blank', sizeBytes }
}

function matches(volume: VolumeDetail, query: Query): boolean {
  const is = (key: string, value: string) => query.one(key) === undefined || query.one(key) === value
  return (
    nameMatches(volume.name, query) &&
    metadataMatches(volume.metadata, query) &&
    is('status', volumeStatus(volume)) &&
    is('id', volume.id) &&
    is('size', String(Math.ceil(volume.size_bytes / GiB))) &&
    is('availability_zone', 'nova') &&
    (boolean('bootable', query.one('bootable')) ?? volume.bootable) === volume.bootable &&
    (boolean('multiattach', query.one('multiattach')) ?? false) === false
  )
}
