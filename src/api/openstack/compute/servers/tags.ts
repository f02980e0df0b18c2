import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { changeInstance } from '../../../../app/instance-changes.ts'
import { findInstance } from '../../../../app/instances.ts'
import { refuse } from '../../../../domain/refusals.ts'
import { read } from '../../../http/bodies.ts'
import type { ApiNeeds } from '../../../http/needs.ts'
import { callerOf } from '../../../http/request.ts'
import { requireMicroversion } from '../../microversions.ts'
import { tag } from './create-body.ts'

type ById = { Params: { id: string } }
type ByTag = { Params: { id: string; tag: string } }

const most = 50
const all = z.strictObject({ tags: z.array(tag).max(most) })

/** Since 2.26. */
export function tags(app: FastifyInstance, needs: ApiNeeds): void {
  const path = '/v2.1/servers/:id/tags'

  app.get<ById>(path, async (request) => {
    requireMicroversion(request, 26)
    const { tags } = await findInstance(needs, callerOf(request), request.params.id, 'os_compute_api:os-server-tags:index')
    return { tags }
  })

  app.put<ById>(path, async (request) => {
    requireMicroversion(request, 26)
    const wanted = read(all, request.body).tags
    const rule = 'os_compute_api:os-server-tags:update_all'
    const { tags } = await changeInstance(needs, callerOf(request), request.params.id, rule, () => ({ tags: wanted }))
    return { tags }
  })

  app.delete<ById>(path, async (request, reply) => {
    requireMicroversion(request, 26)
    const rule = 'os_compute_api:os-server-tags:delete_all'
    await changeInstance(needs, callerOf(request), request.params.id, rule, () => ({ tags: [] }))
    return reply.code(204).send()
  })

  app.get<ByTag>(`${path}/:tag`, async (request, reply) => {
    requireMicroversion(request, 26)
    const { tags } = await findInstance(needs, callerOf(request), request.params.id, 'os_compute_api:os-server-tags:show')
    requireTag(tags, request.params.tag)
    return reply.code(204).send()
  })

  app.put<ByTag>(`${path}/:tag`, async (request, reply) => {
    requireMicroversion(request, 26)
    const name = read(tag, request.params.tag)
    let existed = false
    await changeInstance(needs, callerOf(request), request.params.id, 'os_compute_api:os-server-tags:update', ({ tags }) => {
      existed = tags.includes(name)
      if (!existed && tags.length >= most)
        throw refuse.malformed({ why: `The number of tags exceeded the per-server limit ${most}` })
      return { tags: [...tags, name] }
    })
    return reply.code(existed ? 204 : 201).send()
  })

  app.delete<ByTag>(`${path}/:tag`, async (request, reply) => {
    requireMicroversion(request, 26)
    const { id, tag: name } = request.params
    await changeInstance(needs, callerOf(request), id, 'os_compute_api:os-server-tags:delete', ({ tags }) => {
      requireTag(tags, name)
      return { tags: tags.filter((each) => each !== name) }
    })
    return reply.code(204).send()
  })
}

function requireTag(tags: readonly string[], name: string): void {
  if (!tags.includes(name)) throw refuse.notFound({ what: 'Tag', id: name })
}
