import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { changeInstance } from '../../../../app/instance-changes.ts'
import { findInstance } from '../../../../app/instances.ts'
import { refuse } from '../../../../domain/refusals.ts'
import { read } from '../../../http/bodies.ts'
import type { ApiNeeds } from '../../../http/needs.ts'
import { callerOf } from '../../../http/request.ts'
import { labels } from '../../names.ts'

type ById = { Params: { id: string } }
type ByKey = { Params: { id: string; key: string } }

const all = z.strictObject({ metadata: labels })
const one = z.strictObject({ meta: labels })

export function metadata(app: FastifyInstance, needs: ApiNeeds): void {
  const path = '/v2.1/servers/:id/metadata'

  app.get<ById>(path, async (request) => {
    const { metadata } = await findInstance(needs, callerOf(request), request.params.id, 'os_compute_api:server-metadata:index')
    return { metadata }
  })

  app.post<ById>(path, async (request) => {
    const given = read(all, request.body).metadata
    const rule = 'os_compute_api:server-metadata:create'
    const { metadata } = await changeInstance(needs, callerOf(request), request.params.id, rule, (before) => ({
      metadata: read(labels, { ...before.metadata, ...given }),
    }))
    return { metadata }
  })

  app.put<ById>(path, async (request) => {
    const given = read(all, request.body).metadata
    const rule = 'os_compute_api:server-metadata:update_all'
    const { metadata } = await changeInstance(needs, callerOf(request), request.params.id, rule, () => ({ metadata: given }))
    return { metadata }
  })

  app.get<ByKey>(`${path}/:key`, async (request) => {
    const { id, key } = request.params
    const { metadata } = await findInstance(needs, callerOf(request), id, 'os_compute_api:server-metadata:show')
    return { meta: { [key]: valueAt(metadata, key) } }
  })

  app.put<ByKey>(`${path}/:key`, async (request) => {
    const { id, key } = request.params
    const { meta } = read(one, request.body)
    if (Object.keys(meta).join() !== key) throw refuse.malformed({ why: 'Request body and URI mismatch' })
    const rule = 'os_compute_api:server-metadata:update'
    await changeInstance(needs, callerOf(request), id, rule, (before) => ({
      metadata: read(labels, { ...before.metadata, ...meta }),
    }))
    return { meta }
  })

  app.delete<ByKey>(`${path}/:key`, async (request, reply) => {
    const { id, key } = request.params
    await changeInstance(needs, callerOf(request), id, 'os_compute_api:server-metadata:delete', ({ metadata }) => {
      valueAt(metadata, key)
      const { [key]: _removed, ...rest } = metadata
      return { metadata: rest }
    })
    return reply.code(204).send()
  })
}

function valueAt(metadata: Readonly<Record<string, string>>, key: string): string {
  const value = Object.hasOwn(metadata, key) ? metadata[key] : undefined
  if (value === undefined) throw refuse.notFound({ what: 'Metadata item', id: key })
  return value
}
