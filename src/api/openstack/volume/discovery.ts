import type { FastifyInstance } from 'fastify'
import { open } from '../../http/face.ts'
import { baseUrl } from '../../http/links.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { say } from '../microversions.ts'
import { volumeVersions } from './versions.ts'

/** The plural form at both places, as Cinder answers. */
export function discovery(app: FastifyInstance, { settings: { publicUrl } }: ApiNeeds): void {
  for (const [path, status] of [
    ['/', 300],
    ['/v3', 200],
  ] as const)
    app.get(path, open, async (request, reply) => {
      const version = {
        id: 'v3.0',
        status: 'CURRENT',
        version: say(volumeVersions.max),
        min_version: say(volumeVersions.min),
        updated: '2021-12-16T00:00:00Z',
        links: [
          { rel: 'describedby', type: 'text/html', href: 'https://docs.openstack.org/' },
          { rel: 'self', href: `${baseUrl(request, publicUrl)}/volume/v3/` },
        ],
        'media-types': [{ base: 'application/json', type: 'application/vnd.openstack.volume+json;version=3' }],
      }
      return reply.code(status).send({ versions: [version] })
    })
}
