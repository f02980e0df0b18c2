import { Readable } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import { abandonUpload, beginUpload } from '../../../app/image-changes.ts'
import { findImage } from '../../../app/images.ts'
import { outcomeOf } from '../../../app/outcome.ts'
import { refuse } from '../../../domain/refusals.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { callerOf } from '../../http/request.ts'

type ById = { Params: { id: string } }

export function data(app: FastifyInstance, needs: ApiNeeds): void {
  const { db, commands, operations, settings } = needs

  // The limit is what may be received; Fastify's own would count before the stream is ours.
  app.put<ById>('/v2/images/:id/file', { bodyLimit: Number.MAX_SAFE_INTEGER }, async (request, reply) => {
    request.audited.action = 'upload_image'
    const caller = callerOf(request)
    if (!(request.body instanceof Readable)) throw refuse.unsupportedMedia()
    const image = await beginUpload(needs, caller, request.params.id)
    try {
      const upload = await needs.receiveUpload(request.body, settings.maxImageBytes)
      const { operation } = await commands.importImage(caller, image.id, upload)
      request.audited.operation = operation
      await outcomeOf(operations, operation, settings.waitSeconds)
    } catch (error) {
      await abandonUpload(db, image.id)
      if (request.raw.errored) throw refuse.malformed({ why: 'The request ended before its body was complete.' })
      throw error
    }
    return reply.code(204).send()
  })

  app.get<ById>('/v2/images/:id/file', async (request, reply) => {
    const caller = callerOf(request)
    const image = await findImage(needs, caller, request.params.id)
    needs.policy.require(caller, 'download_image', {
      project_id: image.visibility === 'private' ? image.project_id : caller.project,
    })
    if (image.layer_id === null && image.checksum === null) return reply.code(204).send()
    throw refuse.imageDataNotKept({ id: image.id })
  })
}
