import type { FastifyInstance } from 'fastify'
import type { Caller } from '../../../../app/caller.ts'
import type { CreateInstance } from '../../../../app/commands.ts'
import { asId, type FlavorId, type ImageId, type InstanceId } from '../../../../domain/ids.ts'
import { refuse } from '../../../../domain/refusals.ts'
import type { ApiNeeds } from '../../../http/needs.ts'
import { callerOf } from '../../../http/request.ts'
import { linksOf } from '../links.ts'
import { readServer, type ServerRequest } from './create-body.ts'
import { diskOf } from './disks.ts'

export function create(app: FastifyInstance, needs: ApiNeeds): void {
  const { commands, policy, settings } = needs

  app.post('/v2.1/servers', async (request, reply) => {
    request.audited.action = 'os_compute_api:servers:create'
    const caller = callerOf(request)
    policy.require(caller, 'os_compute_api:servers:create')
    const server = readServer(request.body, request.microversion)
    const wanted = wantedOf(caller, server)
    const names = namesOf(server)
    const made: InstanceId[] = []
    try {
      for (const [index, name] of names.entries()) {
        const key = caller.idempotencyKey
        const each =
          key !== undefined && names.length > 1 ? { ...caller, idempotencyKey: `${key}-${index}`.slice(0, 255) } : caller
        const { instance, operation } = await commands.createInstance(each, { ...wanted, name })
        made.push(instance)
        request.audited.operation = operation
      }
    } catch (error) {
      for (const instance of made)
        await commands
          .deleteInstance(caller, instance)
          .catch((cause: unknown) => request.log.warn({ err: cause, instance }, 'left over'))
      throw error
    }
    const [id] = made
    if (!id) throw new Error('at least one server was asked for')
    request.audited.target = made.join(' ')
    reply.code(202)
    if (server.return_reservation_id) return { reservation_id: `r-${id.slice(0, 8)}` }
    const links = linksOf(request, settings.publicUrl, 'servers', id)
    reply.header('location', links[0]?.href ?? '')
    return { server: { id, links, 'OS-DCF:diskConfig': server['OS-DCF:diskConfig'] ?? 'MANUAL', security_groups: [] } }
  })

  function wantedOf(caller: Caller, server: ServerRequest): CreateInstance {
    const image = server.imageRef ? asId<ImageId>(server.imageRef.split('/').at(-1) ?? '') : null
    return {
      name: server.name,
      description: server.description ?? null,
      flavor: asId<FlavorId>(server.flavorRef.split('/').at(-1) ?? ''),
      image,
      disks: (server.block_device_mapping_v2 ?? []).map(diskOf),
      network: networkOf(server),
      keyName: server.key_name ?? null,
      userData: server.user_data ?? null,
      configDrive: server.config_drive ?? false,
      metadata: server.metadata ?? {},
      tags: server.tags ?? [],
      host: hostOf(caller, server),
    }
  }

  /** `zone:host` and the fields of 2.74 name a host, which only administrators may. */
  function hostOf(caller: Caller, server: ServerRequest): string | null {
    const [zone = '', inZone = ''] = (server.availability_zone ?? '').split(':')
    if (zone !== '' && zone !== 'nova') throw refuse.malformed({ why: 'The requested availability zone is not available' })
    const host = server.host ?? server.hypervisor_hostname ?? (inZone || null)
    if (host !== null) policy.require(caller, 'os_compute_api:servers:create:forced_host')
    return host
  }
}

function networkOf({ networks }: ServerRequest): CreateInstance['network'] {
  if (networks === 'auto' || networks === 'none') return networks
  const [first, ...more] = networks ?? []
  if (!first) return 'auto'
  if (more.length > 0 || first.uuid === undefined)
    throw refuse.malformed({ why: 'An instance has one network here, named by its uuid.' })
  return { network: first.uuid, fixedIp: first.fixed_ip ?? null }
}

/** Several are numbered, as Nova does it. */
function namesOf({ name, min_count, max_count }: ServerRequest): string[] {
  const least = min_count ?? 1
  const most = max_count ?? least
  if (least > most) throw refuse.malformed({ why: 'min_count must be <= max_count' })
  return most === 1 ? [name] : Array.from({ length: most }, (_nothing, index) => `${name}-${index + 1}`)
}
