import type { FastifyInstance, FastifyRequest } from 'fastify'
import { isAdmin } from '../../../../app/caller.ts'
import { type Busy, type InstanceRow, listInstances, withDetails } from '../../../../app/instances.ts'
import { type Keys, pageOf, type SortKey } from '../../../../app/paging.ts'
import type { Whose } from '../../../../app/reads.ts'
import { asId, type ProjectId } from '../../../../domain/ids.ts'
import { refuse } from '../../../../domain/refusals.ts'
import type { ApiNeeds } from '../../../http/needs.ts'
import { callerOf } from '../../../http/request.ts'
import { speaks } from '../../microversions.ts'
import { boolean, limitOf, moment, type Query, queryOf } from '../../query.ts'
import { nextLink } from '../links.ts'
import { serverBrief, serverView, statusOf } from './view.ts'

const keys: Keys<Busy<InstanceRow>> = {
  created_at: ({ created_at }) => created_at,
  updated_at: ({ updated_at }) => updated_at,
  display_name: ({ name }) => name,
  name: ({ name }) => name,
  uuid: ({ id }) => id,
  vm_state: ({ state }) => state,
  host: ({ host_id }) => host_id,
  instance_type_id: ({ flavor }) => flavor.id,
  key_name: (row) => row.key_name,
  project_id: (row) => row.project_id,
  user_id: (row) => row.user_id,
  launched_at: (row) => row.launched_at,
}

export function list(app: FastifyInstance, needs: ApiNeeds): void {
  const { settings } = needs

  app.get('/v2.1/servers', async (request) => {
    const { items, links } = await page(request, 'index')
    return { servers: items.map((row) => serverBrief(request, needs, row)), ...links }
  })

  app.get('/v2.1/servers/detail', async (request) => {
    const { items, links } = await page(request, 'detail')
    const detailed = await withDetails(needs, items)
    return { servers: detailed.map((row) => serverView(request, needs, row, 'detail')), ...links }
  })

  async function page(request: FastifyRequest, form: 'index' | 'detail') {
    const query = queryOf(request)
    const caller = callerOf(request)
    needs.policy.require(caller, `os_compute_api:servers:${form}`)
    const whose = whoseOf(query, request, form)
    const rows = await listInstances(needs, {
      whose,
      name: query.one('name'),
      // Others than administrators are not told about hosts, so they cannot ask by them.
      host: isAdmin(caller) ? (query.one('host') ?? query.one('hypervisor_hostname')) : undefined,
      changedSince: moment('changes-since', query.one('changes-since')),
      changedBefore: speaks(request, 66) ? moment('changes-before', query.one('changes-before')) : undefined,
      ids: query.all('uuid').length > 0 ? query.all('uuid') : undefined,
    })
    const limit = limitOf(query)
    const matching = rows.filter((row) => matches(row, query, request))
    const { items, more } = pageOf(matching, { limit, marker: query.one('marker') ?? null, sort: sortOf(query) }, keys)
    const last = items.at(-1)
    const path = `/compute/v2.1/servers${form === 'detail' ? '/detail' : ''}`
    return { items, links: more && last ? { servers_links: nextLink(request, settings.publicUrl, path, last.id) } : {} }
  }

  function whoseOf(query: Query, request: FastifyRequest, form: 'index' | 'detail'): Whose {
    const caller = callerOf(request)
    if (boolean('all_tenants', query.one('all_tenants')) !== true) return caller.project
    needs.policy.require(caller, `os_compute_api:servers:${form}:get_all_tenants`)
    const project = query.one('project_id') ?? query.one('tenant_id')
    return project === undefined ? null : asId<ProjectId>(project)
  }
}

/** Filters by what the row says as the client sees it. Names that Nova knows and we have nothing for match nothing else. */
function matches(row: Busy<InstanceRow>, query: Query, request: FastifyRequest): boolean {
  const is = (name: string, value: string | null) => query.all(name).length === 0 || query.all(name).includes(value ?? '')
  const status = query.all('status')
  const flavor = query.one('flavor')
  return (
    (status.length === 0 || status.some((wanted) => wanted.toUpperCase() === statusOf(row))) &&
    is('flavor', flavor === row.flavor.name ? row.flavor.name : row.flavor.id) &&
    is('image', null) &&
    is('user_id', row.user_id) &&
    is('key_name', row.key_name) &&
    is('description', row.description) &&
    matchesAddress(query) &&
    (!speaks(request, 26) || matchesTags(row.tags, query)) &&
    (!speaks(request, 73) || (boolean('locked', query.one('locked')) ?? row.locked) === row.locked)
  )
}

/** Asked for with ports, not here: an unknown way to ask must not answer with everything. */
function matchesAddress(query: Query): boolean {
  if (query.one('ip') !== undefined || query.one('ip6') !== undefined)
    throw refuse.malformed({ why: 'Filtering by address is not offered: list the ports of the network service instead.' })
  return true
}

function matchesTags(tags: readonly string[], query: Query): boolean {
  const named = (name: string) => query.one(name)?.split(',')
  const has = (tag: string) => tags.includes(tag)
  return (
    (named('tags')?.every(has) ?? true) &&
    (named('tags-any')?.some(has) ?? true) &&
    !(named('not-tags')?.every(has) ?? false) &&
    !(named('not-tags-any')?.some(has) ?? false)
  )
}

function sortOf(query: Query): SortKey[] {
  const directions = query.all('sort_dir')
  const wrong = directions.find((direction) => direction !== 'asc' && direction !== 'desc')
  if (wrong !== undefined)
    throw refuse.malformed({ why: `Unknown sort direction '${wrong.slice(0, 20)}', must be asc or desc.` })
  const names = query.all('sort_key')
  if (names.length === 0) return [{ key: 'created_at', descending: directions[0] !== 'asc' }]
  return names.map((key, index) => ({ key, descending: (directions[index] ?? directions[0]) !== 'asc' }))
}
