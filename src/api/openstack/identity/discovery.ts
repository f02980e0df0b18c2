import type { FastifyInstance } from 'fastify'
import { open } from '../../http/face.ts'
import { baseUrl } from '../../http/links.ts'

const version = (base: string) => ({
  id: 'v3.14',
  status: 'stable',
  updated: '2020-04-07T00:00:00Z',
  links: [{ rel: 'self', href: `${base}/identity/v3/` }],
  'media-types': [{ base: 'application/json', type: 'application/vnd.openstack.identity-v3+json' }],
})

export function discovery(app: FastifyInstance, publicUrl: string | null): void {
  app.get('/', open, async (request, reply) =>
    reply.code(300).send({ versions: { values: [version(baseUrl(request, publicUrl))] } }),
  )
  app.get('/v3', open, async (request) => ({ version: version(baseUrl(request, publicUrl)) }))
}
