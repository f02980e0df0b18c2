import type { FastifyInstance } from 'fastify'
import { open } from '../../http/face.ts'
import { baseUrl } from '../../http/links.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { say } from '../microversions.ts'
import { computeVersions } from './versions.ts'

const version = (base: string) => ({
  id: 'v2.1',
  status: 'CURRENT',
  version: say(computeVersions.max),
  min_version: say(computeVersions.min),
  updated: '2013-07-23T11:33:21Z',
  links: [
    { rel: 'self', href: `${base}/compute/v2.1/` },
    { rel: 'describedby', type: 'text/html', href: 'https://docs.openstack.org/api-ref/compute/' },
  ],
  'media-types': [{ base: 'application/json', type: 'application/vnd.openstack.compute+json;version=2.1' }],
})

export function discovery(app: FastifyInstance, { settings: { publicUrl } }: ApiNeeds): void {
  app.get('/', open, async (request) => ({ versions: [version(baseUrl(request, publicUrl))] }))
  app.get('/v2.1', open, async (request) => ({ version: version(baseUrl(request, publicUrl)) }))
}
