import type { Face } from '../../http/face.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { novaEnvelope } from '../envelopes.ts'
import { negotiate } from '../microversions.ts'
import { requireOwnPath } from '../project-in-path.ts'
import { actions } from './actions.ts'
import { backupActions } from './backup-actions.ts'
import { backups } from './backups.ts'
import { discovery } from './discovery.ts'
import { metadata } from './metadata.ts'
import { snapshots } from './snapshots.ts'
import { surroundings } from './surroundings.ts'
import { types } from './types.ts'
import { volumeVersions } from './versions.ts'
import { volumes } from './volumes.ts'

const parts = [discovery, volumes, actions, snapshots, backups, backupActions, metadata, types, surroundings]

/** Groups, transfers, and the export and import of backup records are not offered: their paths do not exist. */
export const volumeFace = (needs: ApiNeeds): Face => ({
  prefix: '/volume',
  envelope: novaEnvelope,
  onRequest: (request, reply) => {
    reply.header('x-compute-request-id', request.id)
    negotiate(volumeVersions, request, reply)
    requireOwnPath(request)
  },
  routes: (app) => {
    for (const part of parts) part(app, needs)
  },
})
