import type { Face } from '../../http/face.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { neutronEnvelope } from '../envelopes.ts'
import { discovery } from './discovery.ts'
import { networks } from './networks.ts'

/** What instances are connected to, to be read. Routers, floating IPs and security groups are not offered: their paths do not exist. */
export const networkFace = (needs: ApiNeeds): Face => ({
  prefix: '/network',
  envelope: neutronEnvelope,
  routes: (app) => {
    discovery(app, needs.settings.publicUrl)
    networks(app, needs)
  },
})
