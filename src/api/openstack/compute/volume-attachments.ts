import type { FastifyInstance, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { type AttachmentRow, findInstance } from '../../../app/instances.ts'
import { settledWell } from '../../../app/outcome.ts'
import { asId, type VolumeId } from '../../../domain/ids.ts'
import { refuse } from '../../../domain/refusals.ts'
import { read } from '../../http/bodies.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { callerOf } from '../../http/request.ts'
import { speaks } from '../microversions.ts'
import { limitOf, queryOf, wholeNumber } from '../query.ts'
import { evenIfGone } from '../repeats.ts'

type ById = { Params: { id: string } }
type ByVolume = { Params: { id: string; volume: string } }

const body = z.strictObject({
  volumeAttachment: z.strictObject({
    volumeId: z.uuid(),
    device: z
      .string()
      .regex(/^(\/dev\/)?[a-z]{1,16}$/, { message: 'A device name is like /dev/vdb' })
      .nullish(),
    tag: z
      .string()
      .min(1)
      .max(60)
      .regex(/^[^,/]+$/)
      .nullish(),
    delete_on_termination: z.boolean().optional(),
  }),
})
const change = z.object({ volumeAttachment: z.object({ volumeId: z.string(), delete_on_termination: z.boolean() }) })

export function volumeAttachments(app: FastifyInstance, needs: ApiNeeds): void {
  const { commands, db } = needs
  const path = '/v2.1/servers/:id/os-volume_attachments'

  app.get<ById>(path, async (request) => {
    const { attachments } = await findInstance(
      needs,
      callerOf(request),
      request.params.id,
      'os_compute_api:os-volumes-attachments:index',
    )
    const query = queryOf(request)
    const offset = wholeNumber('offset', query.one('offset') ?? '0')
    return { volumeAttachments: attachments.slice(offset, offset + limitOf(query)).map((row) => view(request, row)) }
  })

  app.get<ByVolume>(`${path}/:volume`, async (request) => ({
    volumeAttachment: view(request, await one(request, 'os_compute_api:os-volumes-attachments:show')),
  }))

  app.post<ById>(path, async (request) => {
    request.audited.action = 'os_compute_api:os-volumes-attachments:create'
    const caller = callerOf(request)
    const { id } = await findInstance(needs, caller, request.params.id, 'os_compute_api:os-volumes-attachments:create')
    const { volumeAttachment: wanted } = read(body, request.body)
    if (wanted.tag !== undefined && !speaks(request, 49)) throw tooEarly('tag', 49)
    if (wanted.delete_on_termination !== undefined && !speaks(request, 79)) throw tooEarly('delete_on_termination', 79)
    const volume = asId<VolumeId>(wanted.volumeId)
    const deleteOnTermination = wanted.delete_on_termination ?? false
    const tag = wanted.tag ?? null
    const asked = wanted.device?.replace('/dev/', '') ?? null
    const { attachment, device, operation } = await commands.attachVolume(caller, {
      instance: id,
      volume,
      device: asked,
      deleteOnTermination,
      tag,
    })
    request.audited.operation = operation
    await settledWell(needs.operations, operation)
    const row = { id: attachment, instance_id: id, volume_id: volume, device, tag, delete_on_termination: deleteOnTermination }
    return { volumeAttachment: view(request, row) }
  })

  /** Another volume in place of this one is not offered; what becomes of it with the instance may be changed. */
  app.put<ByVolume>(`${path}/:volume`, async (request, reply) => {
    request.audited.action = 'os_compute_api:os-volumes-attachments:update'
    const attachment = await one(request, 'os_compute_api:os-volumes-attachments:update')
    const { volumeAttachment: wanted } = read(change, request.body)
    if (wanted.volumeId !== attachment.volume_id || !speaks(request, 85))
      throw refuse.notImplemented({ what: 'Swapping volumes' })
    await db
      .updateTable('attachments')
      .set({ delete_on_termination: wanted.delete_on_termination })
      .where('id', '=', attachment.id)
      .execute()
    return reply.code(202).send()
  })

  app.delete<ByVolume>(`${path}/:volume`, async (request, reply) => {
    request.audited.action = 'os_compute_api:os-volumes-attachments:delete'
    const caller = callerOf(request)
    const { id: server, volume: disk } = request.params
    const found = one(request, 'os_compute_api:os-volumes-attachments:delete')
    const instance = await evenIfGone(
      caller,
      server,
      found.then((row) => ({ id: row.instance_id })),
    )
    const volume = await evenIfGone(
      caller,
      disk,
      found.then((row) => ({ id: row.volume_id })),
    )
    const { operation } = await commands.detachVolume(caller, instance, volume)
    request.audited.operation = operation
    await settledWell(needs.operations, operation)
    return reply.code(202).send()
  })

  async function one(request: FastifyRequest<ByVolume>, rule: Parameters<typeof findInstance>[3]): Promise<AttachmentRow> {
    const { id, volume } = request.params
    const { attachments } = await findInstance(needs, callerOf(request), id, rule)
    const found = attachments.find(({ volume_id }) => volume_id === volume)
    if (!found) throw refuse.notFound({ what: 'Volume attachment', id: volume })
    return found
  }
}

const tooEarly = (name: string, minor: number) =>
  refuse.malformed({ why: `Additional properties are not allowed ('${name}' was unexpected before microversion 2.${minor})` })

type Shown = Pick<AttachmentRow, 'id' | 'instance_id' | 'volume_id' | 'device' | 'tag' | 'delete_on_termination'>

const view = (request: FastifyRequest, row: Shown) => ({
  ...(speaks(request, 89) ? { attachment_id: row.id, bdm_uuid: row.id } : { id: row.volume_id }),
  volumeId: row.volume_id,
  serverId: row.instance_id,
  device: `/dev/${row.device}`,
  ...(speaks(request, 70) ? { tag: row.tag } : {}),
  ...(speaks(request, 79) ? { delete_on_termination: row.delete_on_termination } : {}),
})
