import type { FastifyInstance } from 'fastify'
import { refuse } from '../../../domain/refusals.ts'
import { open } from '../../http/face.ts'
import { baseUrl } from '../../http/links.ts'

export function discovery(app: FastifyInstance, publicUrl: string | null): void {
  app.get('/', open, async (request) => ({
    versions: [
      { id: 'v2.0', status: 'CURRENT', links: [{ rel: 'self', href: `${baseUrl(request, publicUrl)}/network/v2.0/` }] },
    ],
  }))
  app.get('/v2.0', open, async () => ({ resources: [] }))
  app.get('/v2.0/extensions', async () => ({ extensions: [] }))
  app.get<{ Params: { alias: string } }>('/v2.0/extensions/:alias', async (request) => {
    throw refuse.notFound({ what: 'Extension', id: request.params.alias })
  })
}
