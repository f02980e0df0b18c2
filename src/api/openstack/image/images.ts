import type { FastifyInstance } from 'fastify'
import { createImage, updateImage } from '../../../app/image-changes.ts'
import { findImage, findOwnImage } from '../../../app/images.ts'
import { outcomeOf } from '../../../app/outcome.ts'
import { refuse } from '../../../domain/refusals.ts'
import { read } from '../../http/bodies.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { callerOf } from '../../http/request.ts'
import { printable } from '../names.ts'
import { evenIfGone } from '../repeats.ts'
import { fieldsOf, fieldsOfNew } from './fields.ts'
import { patched } from './patch.ts'
import { imageView } from './views.ts'

type ById = { Params: { id: string } }
type Tagged = { Params: { id: string; tag: string } }

export function images(app: FastifyInstance, needs: ApiNeeds): void {
  app.post('/v2/images', async (request, reply) => {
    request.audited.action = 'add_image'
    const caller = callerOf(request)
    needs.policy.require(caller, 'add_image')
    const { id, fields } = fieldsOfNew(request.body, caller.project)
    const image = await createImage(needs, caller, id, fields)
    request.audited.target = image.id
    reply.header('location', `/v2/images/${image.id}`).header('openstack-image-import-methods', '')
    return reply.code(201).send(imageView(image))
  })

  app.get<ById>('/v2/images/:id', async (request) => imageView(await findImage(needs, callerOf(request), request.params.id)))

  app.patch<ById>('/v2/images/:id', async (request) => {
    request.audited.action = 'modify_image'
    const caller = callerOf(request)
    const image = await findOwnImage(needs, caller, request.params.id, 'modify_image')
    return imageView(await updateImage(needs, caller, image, patched(fieldsOf(image), request.body)))
  })

  app.delete<ById>('/v2/images/:id', async (request, reply) => {
    request.audited.action = 'delete_image'
    const caller = callerOf(request)
    const { id: name } = request.params
    const id = await evenIfGone(caller, name, findOwnImage(needs, caller, name, 'delete_image'))
    const { operation } = await needs.commands.deleteImage(caller, id)
    request.audited.operation = operation
    await outcomeOf(needs.operations, operation, needs.settings.waitSeconds)
    return reply.code(204).send()
  })

  app.put<Tagged>('/v2/images/:id/tags/:tag', async (request, reply) => {
    const tag = read(printable(255), request.params.tag)
    await changeTags(request, (tags) => [...tags, tag])
    return reply.code(204).send()
  })

  app.delete<Tagged>('/v2/images/:id/tags/:tag', async (request, reply) => {
    const { tag } = request.params
    await changeTags(request, (tags) => {
      if (!tags.includes(tag)) throw refuse.notFound({ what: 'Tag', id: tag })
      return tags.filter((each) => each !== tag)
    })
    return reply.code(204).send()
  })

  async function changeTags(
    request: Parameters<typeof callerOf>[0] & { params: { id: string } },
    change: (tags: readonly string[]) => readonly string[],
  ) {
    request.audited.action = 'modify_image'
    const caller = callerOf(request)
    const image = await findOwnImage(needs, caller, request.params.id, 'modify_image')
    await updateImage(needs, caller, image, { ...fieldsOf(image), tags: change(image.tags) })
  }
}
