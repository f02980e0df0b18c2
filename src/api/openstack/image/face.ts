import type { Face } from '../../http/face.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { glanceEnvelope } from '../envelopes.ts'
import { data } from './data.ts'
import { discovery } from './discovery.ts'
import { images } from './images.ts'
import { list } from './list.ts'

/** Members (sharing with chosen projects) are not offered: their paths do not exist. */
export const imageFace = (needs: ApiNeeds): Face => ({
  prefix: '/image',
  envelope: glanceEnvelope,
  routes: (app) => {
    for (const part of [discovery, list, images, data]) part(app, needs)
  },
})
