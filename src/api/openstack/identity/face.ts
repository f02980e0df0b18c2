import type { Face } from '../../http/face.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { keystoneEnvelope } from '../envelopes.ts'
import { discovery } from './discovery.ts'
import { places } from './places.ts'
import { projects } from './projects.ts'
import { roles } from './roles.ts'
import { tokens } from './tokens.ts'
import { users } from './users.ts'

export const identityFace = (needs: ApiNeeds): Face => ({
  prefix: '/identity',
  envelope: keystoneEnvelope,
  routes: (app) => {
    discovery(app, needs.settings.publicUrl)
    for (const part of [tokens, users, projects, roles, places]) part(app, needs)
  },
})
