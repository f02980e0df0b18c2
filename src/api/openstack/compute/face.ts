import type { Face } from '../../http/face.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { novaEnvelope } from '../envelopes.ts'
import { negotiate } from '../microversions.ts'
import { requireOwnPath } from '../project-in-path.ts'
import { discovery } from './discovery.ts'
import { flavorSpecs } from './flavor-specs.ts'
import { flavors } from './flavors.ts'
import { hypervisors } from './hypervisors.ts'
import { instanceActions } from './instance-actions.ts'
import { interfaces } from './interfaces.ts'
import { keypairs } from './keypairs.ts'
import { limits } from './limits.ts'
import { serverActions } from './server-actions/actions.ts'
import { create } from './servers/create.ts'
import { list } from './servers/list.ts'
import { metadata } from './servers/metadata.ts'
import { servers } from './servers/servers.ts'
import { tags } from './servers/tags.ts'
import { services } from './services.ts'
import { surroundings } from './surroundings.ts'
import { computeVersions } from './versions.ts'
import { volumeAttachments } from './volume-attachments.ts'

const parts = [
  ...[discovery, list, create, servers, metadata, tags, serverActions, volumeAttachments, interfaces, instanceActions],
  ...[flavors, flavorSpecs, keypairs, services, hypervisors, limits, surroundings],
]

export const computeFace = (needs: ApiNeeds): Face => ({
  prefix: '/compute',
  envelope: novaEnvelope,
  onRequest: (request, reply) => {
    reply.header('x-compute-request-id', request.id)
    negotiate(computeVersions, request, reply)
    requireOwnPath(request)
  },
  routes: (app) => {
    for (const part of parts) part(app, needs)
  },
})
