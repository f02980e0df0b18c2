import type { FastifyInstance, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { findFlavor, setExtraSpecs } from '../../../app/flavors.ts'
import { refuse } from '../../../domain/refusals.ts'
import { read } from '../../http/bodies.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { callerOf } from '../../http/request.ts'
import { labels } from '../names.ts'

type ById = { Params: { id: string } }
type ByKey = { Params: { id: string; key: string } }
type Specs = Readonly<Record<string, string>>

const body = z.strictObject({ extra_specs: labels })

/** Words beside a flavor. Machines are made from its sizes alone. */
export function flavorSpecs(app: FastifyInstance, { db, policy }: ApiNeeds): void {
  const path = '/v2.1/flavors/:id/os-extra_specs'
  const found = (request: FastifyRequest<ById>) => findFlavor(db, callerOf(request), request.params.id)

  app.get<ById>(path, async (request) => ({ extra_specs: (await found(request)).extra_specs }))

  app.get<ByKey>(`${path}/:key`, async (request) => {
    const { id, key } = request.params
    const { extra_specs: specs } = await findFlavor(db, callerOf(request), id)
    return { [key]: specOf(specs, id, key) }
  })

  app.post<ById>(path, async (request) => {
    policy.require(callerOf(request), 'os_compute_api:os-flavor-extra-specs:create')
    const { extra_specs: given } = read(body, request.body)
    const { id } = await found(request)
    await setExtraSpecs(db, id, (before) => ({ ...before, ...given }))
    return { extra_specs: given }
  })

  app.put<ByKey>(`${path}/:key`, async (request) => {
    policy.require(callerOf(request), 'os_compute_api:os-flavor-extra-specs:update')
    const { key } = request.params
    const given = read(labels, request.body)
    if (Object.keys(given).join() !== key) throw refuse.malformed({ why: 'Request body and URI mismatch' })
    const { id } = await findFlavor(db, callerOf(request), request.params.id)
    await setExtraSpecs(db, id, (before) => ({ ...before, ...given }))
    return given
  })

  app.delete<ByKey>(`${path}/:key`, async (request, reply) => {
    policy.require(callerOf(request), 'os_compute_api:os-flavor-extra-specs:delete')
    const { key } = request.params
    const { id } = await findFlavor(db, callerOf(request), request.params.id)
    await setExtraSpecs(db, id, (before) => {
      specOf(before, id, key)
      const { [key]: _removed, ...rest } = before
      return rest
    })
    return reply.code(200).send()
  })
}

function specOf(specs: Specs, id: string, key: string): string {
  const value = Object.hasOwn(specs, key) ? specs[key] : undefined
  if (value === undefined) throw refuse.notFound({ what: `Extra spec of flavor ${id},`, id: key })
  return value
}
