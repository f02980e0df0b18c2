import type { FastifyInstance } from 'fastify'
import { findInstance, type PortRow } from '../../../app/instances.ts'
import { refuse } from '../../../domain/refusals.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { callerOf } from '../../http/request.ts'
import { speaks } from '../microversions.ts'

type ById = { Params: { id: string } }

/** Ports of an instance: read only, they come and go with it. */
export function interfaces(app: FastifyInstance, needs: ApiNeeds): void {
  const path = '/v2.1/servers/:id/os-interface'

  app.get<ById>(path, async (request) => {
    const found = await findInstance(needs, callerOf(request), request.params.id, 'os_compute_api:os-attach-interfaces:list')
    const subnets = await subnetsOf()
    return { interfaceAttachments: found.ports.map((port) => view(port, subnets, speaks(request, 70))) }
  })

  app.get<{ Params: { id: string; port: string } }>(`${path}/:port`, async (request) => {
    const { id, port } = request.params
    const found = await findInstance(needs, callerOf(request), id, 'os_compute_api:os-attach-interfaces:show')
    const one = found.ports.find((each) => each.id === port)
    if (!one) throw refuse.notFound({ what: 'Port', id: port })
    return { interfaceAttachment: view(one, await subnetsOf(), speaks(request, 70)) }
  })

  async function subnetsOf(): Promise<ReadonlyMap<string, string>> {
    const networks = await needs.db.selectFrom('networks').select(['id', 'subnet_id']).execute()
    return new Map(networks.map(({ id, subnet_id }) => [id, subnet_id]))
  }
}

const view = (port: PortRow, subnets: ReadonlyMap<string, string>, tagged: boolean) => ({
  port_id: port.id,
  net_id: port.network_id,
  mac_addr: port.mac,
  port_state: 'ACTIVE',
  fixed_ips: [{ subnet_id: subnets.get(port.network_id) ?? '', ip_address: port.fixed_ip }],
  ...(tagged ? { tag: null } : {}),
})
