import type { FastifyInstance, FastifyRequest } from 'fastify'
import { isAdmin } from '../../../app/caller.ts'
import { listNetworks, listPorts, type NetworkRow, type PortDetail } from '../../../app/networks.ts'
import { pageOf } from '../../../app/paging.ts'
import type { PolicyName } from '../../../app/policy/policy.ts'
import { refuse } from '../../../domain/refusals.ts'
import { baseUrl } from '../../http/links.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { callerOf } from '../../http/request.ts'
import { limitOf, type Query, queryOf } from '../query.ts'
import { networkView, portView, subnetView } from './views.ts'

type View = Readonly<Record<string, unknown>> & { readonly id: string }

export function networks(app: FastifyInstance, { db, policy, settings }: ApiNeeds): void {
  collection('networks', 'Network', 'get_network', async () =>
    (await listNetworks(db)).map((row: NetworkRow) => networkView(row)),
  )
  collection('subnets', 'Subnet', 'get_subnet', async () => (await listNetworks(db)).map((row: NetworkRow) => subnetView(row)))
  collection('ports', 'Port', 'get_port', async (request) => {
    const caller = callerOf(request)
    return (await listPorts(db, isAdmin(caller) ? null : caller.project)).map((row: PortDetail) => portView(row))
  })

  function collection(
    plural: string,
    what: string,
    rule: PolicyName,
    all: (request: FastifyRequest) => Promise<readonly View[]>,
  ): void {
    app.get(`/v2.0/${plural}`, async (request) => {
      policy.require(callerOf(request), rule)
      const query = queryOf(request)
      const found = (await all(request)).filter((view) => matches(view, query))
      const sort = [{ key: 'id', descending: false }]
      const { items, more } = pageOf(
        found,
        { limit: limitOf(query), marker: query.one('marker') ?? null, sort },
        { id: ({ id }) => id },
      )
      const fields = query.all('fields')
      const shown =
        fields.length === 0 ? items : items.map((view) => Object.fromEntries(fields.map((name) => [name, view[name]])))
      return {
        [plural]: shown,
        ...(more ? { [`${plural}_links`]: [{ rel: 'next', href: nextOf(request, items.at(-1)?.id ?? '') }] } : {}),
      }
    })
    app.get<{ Params: { id: string } }>(`/v2.0/${plural}/:id`, async (request) => {
      policy.require(callerOf(request), rule)
      const { id } = request.params
      const found = (await all(request)).find((view) => view.id === id)
      if (!found) throw refuse.notFound({ what, id })
      return { [plural.slice(0, -1)]: found }
    })
  }

  function nextOf(request: FastifyRequest, marker: string): string {
    const [path, query = ''] = request.url.split('?')
    const parameters = new URLSearchParams(query)
    parameters.set('marker', marker)
    return `${baseUrl(request, settings.publicUrl)}${path}?${parameters}`
  }
}

const notFilters = new Set(['limit', 'marker', 'page_reverse', 'sort_key', 'sort_dir', 'fields'])

/** Any attribute may be asked for; repeated, any of the values will do. `fixed_ips=ip_address=…` looks inside. */
function matches(view: View, query: Query): boolean {
  const names = new Set(query.entries.map(([name]) => name).filter((name) => !notFilters.has(name)))
  return [...names].every((name) => {
    if (name === 'fixed_ips') return query.all(name).every((wanted) => inside(view['fixed_ips'], wanted))
    if (!Object.hasOwn(view, name)) return false
    return query.all(name).some((wanted) => same(view[name], wanted))
  })
}

const same = (value: unknown, wanted: string) =>
  typeof value === 'boolean' ? String(value) === wanted.toLowerCase() : String(value ?? '') === wanted

const inside = (list: unknown, wanted: string): boolean => {
  const [name = '', value = ''] = wanted.split('=')
  return Array.isArray(list) && list.some((each: Readonly<Record<string, unknown>>) => String(each[name]) === value)
}
