import type { Face } from '../http/face.ts'
import type { ApiNeeds } from '../http/needs.ts'
import { computeFace } from './compute/face.ts'
import { identityFace } from './identity/face.ts'
import { imageFace } from './image/face.ts'
import { networkFace } from './network/face.ts'
import { volumeFace } from './volume/face.ts'

/** The services of an OpenStack cloud, as many as there are. */
export const openstackFaces = (needs: ApiNeeds): readonly Face[] => [
  identityFace(needs),
  computeFace(needs),
  volumeFace(needs),
  imageFace(needs),
  networkFace(needs),
]
