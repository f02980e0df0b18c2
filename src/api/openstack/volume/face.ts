import type { Face } from '../../http/face.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { novaEnvelope } from '../envelopes.ts'
import { negotiate } from '../microversions.ts'
import { requireOwnPath } from '../project-in-path.ts'
import { actions } from './actions.ts'
import { discovery } from './discovery.ts'
import { metadata } from './metadata.ts'
import { snapshots } from './snapshots.ts'
import { surroundings } from './surroundings.ts'
import { types } from './types.ts'
import { volumeVersions } from './versions.ts'
import { volumes } from './volumes.ts'

/** Backups, groups and transfers are not offered: their paths do not exist. */
export const volumeFace = (needs: ApiNeeds): Face => ({
  prefix: '/volume',
  envelope: novaEnvelope,
  onRequest: (request, reply) => {
    reply.header('x-compute-request-id', request.id)
    negotiate(volumeVersions, request, reply)
    requireOwnPath(request)
  },
  routes: (app) => {
    for (const part of [discovery, volumes, actions, snapshots, metadata, types, surroundings]) part(app, needs)
  },
})
