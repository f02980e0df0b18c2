import type { FastifyInstance } from 'fastify'
import { refuse } from '../../../domain/refusals.ts'

/** There is one kind of storage to choose, and Cinder's name for it. */
export const defaultType = { id: '8f0d5d9e-6c54-4b7e-9d4b-5c1d5f3c2a10', name: '__DEFAULT__' } as const

const view = {
  ...defaultType,
  description: 'Default Volume Type',
  is_public: true,
  'os-volume-type-access:is_public': true,
  qos_specs_id: null,
  extra_specs: {},
}

export function types(app: FastifyInstance): void {
  app.get('/v3/types', async () => ({ volume_types: [view] }))
  app.get<{ Params: { id: string } }>('/v3/types/:id', async (request) => {
    const { id } = request.params
    if (id !== 'default' && id !== defaultType.id) throw refuse.notFound({ what: 'Volume type', id })
    return { volume_type: view }
  })
  app.get<{ Params: { id: string } }>('/v3/types/:id/extra_specs', async (request) => {
    const { id } = request.params
    if (id !== defaultType.id) throw refuse.notFound({ what: 'Volume type', id })
    return { extra_specs: {} }
  })
}
