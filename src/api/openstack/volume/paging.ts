/** What Cinder's lists have in common: whose, sorted how, which page, and a link to the next one. */
import type { FastifyRequest } from 'fastify'
import { type Keys, pageOf, type SortKey } from '../../../app/paging.ts'
import type { Whose } from '../../../app/reads.ts'
import { asId, type ProjectId } from '../../../domain/ids.ts'
import { refuse } from '../../../domain/refusals.ts'
import { baseUrl } from '../../http/links.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { callerOf } from '../../http/request.ts'
import { speaks } from '../microversions.ts'
import { projectInPath } from '../project-in-path.ts'
import { boolean, limitOf, type Query, queryOf, wholeNumber } from '../query.ts'

/** Clients always ask for all projects; for others than administrators Cinder takes that for their own. */
export function whoseOf(request: FastifyRequest, { policy }: Pick<ApiNeeds, 'policy'>): Whose {
  const query = queryOf(request)
  const caller = callerOf(request)
  const all = query.one('all_tenants') === '' || boolean('all_tenants', query.one('all_tenants')) === true
  if (!all || !policy.allows(caller, 'volume:get_all_tenants')) return caller.project
  const project = query.one('project_id')
  return project === undefined ? null : asId<ProjectId>(project)
}

type Listed<Item> = { readonly items: readonly Item[]; readonly around: Readonly<Record<string, unknown>> }

/** `around` holds the link to the next page and, from 3.45 on when asked for, the count of all. */
export function cinderPage<Item extends { readonly id: string }>(
  request: FastifyRequest,
  { settings }: Pick<ApiNeeds, 'settings'>,
  name: 'volumes' | 'snapshots' | 'backups',
  all: readonly Item[],
  keys: Keys<Item>,
): Listed<Item> {
  const query = queryOf(request)
  const offset = wholeNumber('offset', query.one('offset') ?? '0')
  const { items, more } = pageOf(
    all,
    { limit: limitOf(query) + offset, marker: query.one('marker') ?? null, sort: sortOf(query) },
    keys,
  )
  const shown = items.slice(offset)
  const last = shown.at(-1)
  const counted = speaks(request, 45) && boolean('with_count', query.one('with_count')) === true
  return {
    items: shown,
    around: {
      ...(more && last ? { [`${name}_links`]: [{ rel: 'next', href: nextOf(request, settings.publicUrl, last.id) }] } : {}),
      ...(counted ? { count: all.length } : {}),
    },
  }
}

function nextOf(request: FastifyRequest, publicUrl: string | null, marker: string): string {
  const [path = '', query = ''] = request.url.split('?')
  const project = projectInPath(request)
  const parameters = new URLSearchParams(query)
  parameters.set('marker', marker)
  parameters.delete('offset')
  const whole = project === null ? path : path.replace('/v3/', `/v3/${project}/`)
  return `${baseUrl(request, publicUrl)}${whole}?${parameters}`
}

/** `sort=name:asc,size`, or the older sort_key and sort_dir. */
function sortOf(query: Query): SortKey[] {
  const sort = query.one('sort')
  const parts: [string, string | undefined][] = sort
    ? sort.split(',').map((part) => [part.split(':')[0]?.trim() ?? '', part.split(':')[1]])
    : [[query.one('sort_key') ?? 'created_at', query.one('sort_dir')]]
  return parts.map(([key, direction = 'desc']) => {
    if (direction !== 'asc' && direction !== 'desc')
      throw refuse.malformed({ why: `Unknown sort direction '${direction.slice(0, 20)}', must be asc or desc.` })
    return { key, descending: direction === 'desc' }
  })
}

const safety = '_xloud_safety_'

/** `name` is exact and `name~` is contained. Nobody types the whole name of a safety snapshot: those match by how they begin. */
export function nameMatches(name: string, query: Query): boolean {
  const exact = query.one('name') ?? query.one('display_name')
  const part = query.one('name~')
  const same = exact === undefined || name === exact || (exact.startsWith(safety) && name.startsWith(exact))
  return same && (part === undefined || name.includes(part))
}

/** `metadata={'a': 'b'}` as Python writes a dictionary: every pair must be there. */
export function metadataMatches(metadata: Readonly<Record<string, string>>, query: Query): boolean {
  const text = query.one('metadata')
  if (text === undefined) return true
  const pairs = [...text.matchAll(/u?(['"])(.*?)\1\s*:\s*u?(['"])(.*?)\3/g)]
  if (pairs.length === 0 && !/^\s*\{\s*\}\s*$/.test(text))
    throw refuse.malformed({ why: 'Invalid input for query parameter metadata.' })
  return pairs.every(([, , key = '', , value]) => Object.hasOwn(metadata, key) && metadata[key] === value)
}
