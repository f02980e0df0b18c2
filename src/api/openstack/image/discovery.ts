import type { FastifyInstance } from 'fastify'
import { containerFormats, diskFormats } from '../../../app/image-changes.ts'
import { open } from '../../http/face.ts'
import { baseUrl } from '../../http/links.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { callerOf } from '../../http/request.ts'

export function discovery(app: FastifyInstance, { settings, policy }: ApiNeeds): void {
  for (const path of ['/', '/versions'])
    app.get(path, open, async (request, reply) => {
      const href = `${baseUrl(request, settings.publicUrl)}/image/v2/`
      const version = (minor: number, status: string) => ({ id: `v2.${minor}`, status, links: [{ rel: 'self', href }] })
      const versions = [version(9, 'CURRENT'), ...[7, 6, 5, 4, 3, 2, 1, 0].map((minor) => version(minor, 'SUPPORTED'))]
      return reply.code(path === '/' ? 300 : 200).send({ versions })
    })

  app.get('/v2/info/import', async () => ({
    'import-methods': { description: 'Import methods available.', type: 'array', value: [] },
  }))
  app.get('/v2/info/stores', async () => ({ stores: [{ id: 'pool', default: 'true' }] }))
  app.get('/v2/info/stores/detail', async (request) => {
    policy.require(callerOf(request), 'stores_info_detail')
    return {
      stores: [
        { id: 'pool', default: 'true', type: 'pool', description: 'Images are layers of the pool that volumes are in.' },
      ],
    }
  })
  app.get('/v2/schemas/image', async () => imageSchema)
  app.get('/v2/schemas/images', async () => ({
    name: 'images',
    properties: {
      images: { type: 'array', items: imageSchema },
      first: { type: 'string' },
      next: { type: 'string' },
      schema: { type: 'string' },
    },
    links: [
      { rel: 'first', href: '{first}' },
      { rel: 'next', href: '{next}' },
      { rel: 'describedby', href: '{schema}' },
    ],
  }))
}

const text = { type: ['null', 'string'] }
const number = { type: 'integer' }
const said = { readOnly: true }

const imageSchema = {
  name: 'image',
  properties: {
    id: { type: 'string', pattern: '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' },
    name: { ...text, maxLength: 255 },
    status: { ...said, type: 'string', enum: ['queued', 'saving', 'importing', 'active', 'killed', 'deleted'] },
    visibility: { type: 'string', enum: ['community', 'public', 'private', 'shared'] },
    protected: { type: 'boolean' },
    os_hidden: { type: 'boolean' },
    owner: { ...text, ...said },
    container_format: { ...text, enum: [null, ...containerFormats] },
    disk_format: { ...text, enum: [null, ...diskFormats] },
    min_disk: number,
    min_ram: number,
    size: { ...said, type: ['null', 'integer'] },
    virtual_size: { ...said, type: ['null', 'integer'] },
    checksum: { ...text, ...said, maxLength: 32 },
    os_hash_algo: { ...text, ...said },
    os_hash_value: { ...text, ...said, maxLength: 128 },
    tags: { type: 'array', items: { type: 'string', maxLength: 255 } },
    created_at: { ...said, type: 'string' },
    updated_at: { ...said, type: 'string' },
    self: { ...said, type: 'string' },
    file: { ...said, type: 'string' },
    schema: { ...said, type: 'string' },
  },
  additionalProperties: { type: 'string' },
  links: [
    { rel: 'self', href: '{self}' },
    { rel: 'enclosure', href: '{file}' },
    { rel: 'describedby', href: '{schema}' },
  ],
}
