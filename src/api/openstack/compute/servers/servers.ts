import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { changeInstance } from '../../../../app/instance-changes.ts'
import { findInstance } from '../../../../app/instances.ts'
import { settled } from '../../../../app/outcome.ts'
import { refuse } from '../../../../domain/refusals.ts'
import { read } from '../../../http/bodies.ts'
import type { ApiNeeds } from '../../../http/needs.ts'
import { callerOf } from '../../../http/request.ts'
import { speaks } from '../../microversions.ts'
import { description, printable } from '../../names.ts'
import { evenIfGone } from '../../repeats.ts'
import { addressesOf, serverView } from './view.ts'

type ById = { Params: { id: string } }

const change = z.strictObject({
  server: z.strictObject({
    name: printable(255).optional(),
    description: description.nullish(),
    'OS-DCF:diskConfig': z.enum(['AUTO', 'MANUAL']).optional(),
  }),
})

export function servers(app: FastifyInstance, needs: ApiNeeds): void {
  app.get<ById>('/v2.1/servers/:id', async (request) => {
    const found = await findInstance(needs, callerOf(request), request.params.id, 'os_compute_api:servers:show')
    return { server: serverView(request, needs, found, 'show') }
  })

  app.put<ById>('/v2.1/servers/:id', async (request) => {
    request.audited.action = 'os_compute_api:servers:update'
    const caller = callerOf(request)
    const { id } = request.params
    await findInstance(needs, caller, id, 'os_compute_api:servers:update')
    const { server } = read(change, request.body)
    if (server.description !== undefined && !speaks(request, 19))
      throw refuse.malformed({
        why: "Additional properties are not allowed ('description' was unexpected before microversion 2.19)",
      })
    await changeInstance(needs, caller, id, 'os_compute_api:servers:update', () => ({
      ...(server.name === undefined ? {} : { name: server.name }),
      ...(server.description === undefined ? {} : { description: server.description }),
    }))
    const found = await findInstance(needs, caller, id, 'os_compute_api:servers:update')
    return { server: serverView(request, needs, found, 'update') }
  })

  app.delete<ById>('/v2.1/servers/:id', async (request, reply) => {
    request.audited.action = 'os_compute_api:servers:delete'
    const caller = callerOf(request)
    const { id: name } = request.params
    const id = await evenIfGone(caller, name, findInstance(needs, caller, name, 'os_compute_api:servers:delete'))
    const { operation } = await needs.commands.deleteInstance(caller, id)
    request.audited.operation = operation
    await settled(needs.operations, operation)
    return reply.code(204).send()
  })

  app.get<ById>('/v2.1/servers/:id/ips', async (request) => {
    const found = await findInstance(needs, callerOf(request), request.params.id, 'os_compute_api:ips:index')
    return { addresses: plain(addressesOf(found)) }
  })

  app.get<{ Params: { id: string; network: string } }>('/v2.1/servers/:id/ips/:network', async (request) => {
    const { id, network } = request.params
    const found = await findInstance(needs, callerOf(request), id, 'os_compute_api:ips:show')
    const addresses = plain(addressesOf(found))
    if (!Object.hasOwn(addresses, network)) throw refuse.notFound({ what: 'Network', id: network })
    return { [network]: addresses[network] }
  })
}

/** This old route shows only address and version. */
const plain = (addresses: Readonly<Record<string, readonly object[]>>) =>
  Object.fromEntries(
    Object.entries(addresses).map(([network, all]) => [
      network,
      all.map((address) =>
        Object.fromEntries(Object.entries(address).filter(([name]) => name === 'version' || name === 'addr')),
      ),
    ]),
  )
