import type { FastifyInstance } from 'fastify'
import { type ImageRow, listImages } from '../../../app/images.ts'
import { type Keys, pageOf, type SortKey } from '../../../app/paging.ts'
import { refuse } from '../../../domain/refusals.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { callerOf } from '../../http/request.ts'
import { boolean, limitOf, type Query, queryOf, wholeNumber } from '../query.ts'
import { imageView } from './views.ts'

type View = ReturnType<typeof imageView>

const keys: Keys<ImageRow> = {
  name: ({ name }) => name,
  status: ({ status }) => status,
  container_format: (image) => image.container_format,
  disk_format: (image) => image.disk_format,
  size: ({ size_bytes }) => size_bytes,
  id: ({ id }) => id,
  created_at: ({ created_at }) => created_at,
  updated_at: ({ updated_at }) => updated_at,
}

const notFilters = new Set([
  'limit',
  'marker',
  'sort',
  'sort_key',
  'sort_dir',
  'visibility',
  'owner',
  'os_hidden',
  'tag',
  'member_status',
])

export function list(app: FastifyInstance, needs: ApiNeeds): void {
  app.get('/v2/images', async (request) => {
    const query = queryOf(request)
    const found = await listImages(needs, callerOf(request), {
      visibility: visibilityOf(query.one('visibility')),
      owner: query.one('owner'),
      hidden: boolean('os_hidden', query.one('os_hidden')) ?? false,
    })
    const matching = found.filter((image) => matches(imageView(image), image, query))
    const limit = limitOf(query, 25)
    const { items, more } = pageOf(matching, { limit, marker: query.one('marker') ?? null, sort: sortOf(query) }, keys)
    const rest = new URLSearchParams(query.entries.filter(([name]) => name !== 'marker')).toString()
    return {
      images: items.map(imageView),
      first: `/v2/images${rest ? `?${rest}` : ''}`,
      ...(more ? { next: `/v2/images?${rest ? `${rest}&` : ''}marker=${items.at(-1)?.id}` } : {}),
      schema: '/v2/schemas/images',
    }
  })
}

function visibilityOf(text: string | undefined) {
  if (
    text === undefined ||
    text === 'public' ||
    text === 'private' ||
    text === 'shared' ||
    text === 'community' ||
    text === 'all'
  )
    return text
  throw refuse.malformed({ why: `Invalid visibility value: ${text.slice(0, 50)}` })
}

/** Everything else that is asked for must be so: a known attribute (also `in:a,b`), a bound on the size, a custom property. */
function matches(view: View, image: ImageRow, query: Query): boolean {
  return (
    query.all('tag').every((tag) => view.tags.includes(tag)) &&
    query.entries.every(([name, wanted]) => {
      if (notFilters.has(name)) return true
      if (name === 'size_min') return (image.size_bytes ?? 0) >= wholeNumber(name, wanted)
      if (name === 'size_max') return (image.size_bytes ?? 0) <= wholeNumber(name, wanted)
      if (name === 'protected') return image.protected === boolean(name, wanted)
      const value: unknown = Object.hasOwn(view, name) ? view[name as keyof View] : undefined
      if (wanted.startsWith('in:'))
        return wanted
          .slice(3)
          .split(',')
          .includes(String(value ?? ''))
      return value !== undefined && String(value ?? '') === wanted
    })
  )
}

/** `sort=name:asc,size` or sort_key and sort_dir, pair by pair. */
function sortOf(query: Query): SortKey[] {
  const sort = query.one('sort')
  const directionsOk = (text: string | undefined) => text === undefined || text === 'asc' || text === 'desc'
  const pairs: [string, string | undefined][] = sort
    ? sort.split(',').map((part) => [part.split(':')[0] ?? '', part.split(':')[1]])
    : query.all('sort_key').map((key, index) => [key, query.all('sort_dir')[index] ?? query.all('sort_dir')[0]])
  if (pairs.length === 0) return [{ key: 'created_at', descending: query.one('sort_dir') !== 'asc' }]
  return pairs.map(([key, direction]) => {
    if (!directionsOk(direction)) throw refuse.malformed({ why: `Invalid sort direction: ${direction?.slice(0, 20)}` })
    return { key, descending: direction !== 'asc' }
  })
}
