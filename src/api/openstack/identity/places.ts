/** Services, endpoints, the one region and the one domain: all that is asked about them and never changed. */
import type { FastifyInstance } from 'fastify'
import { refuse } from '../../../domain/refusals.ts'
import { baseUrl } from '../../http/links.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { askerOf, type ById } from './asker.ts'
import { listEndpoints, listServices } from './catalog.ts'
import { domain, linkTo, listed } from './views.ts'

type Filter = Readonly<Record<string, string>>

const matches =
  (filter: Filter, names: readonly string[]) =>
  (item: Readonly<Record<string, unknown>>): boolean =>
    names.every((name) => filter[name] === undefined || filter[name] === String(item[name]))

export function places(app: FastifyInstance, { policy, settings }: ApiNeeds): void {
  const { publicUrl, region } = settings

  collection('services', 'service', ['name', 'type'], 'identity:list_services', () => listServices())
  collection('endpoints', 'endpoint', ['interface', 'service_id', 'region_id'], 'identity:list_endpoints', (base) =>
    listEndpoints(base, region),
  )
  collection('regions', 'region', ['parent_region_id'], 'identity:list_regions', () => [
    { id: region, description: '', parent_region_id: null },
  ])
  collection('domains', 'domain', ['name', 'enabled'], 'identity:list_domains', () => [
    { ...domain, description: 'The default domain', enabled: true, tags: [], options: {} },
  ])

  function collection(
    plural: string,
    single: string,
    filters: readonly string[],
    rule: Parameters<typeof policy.require>[1],
    all: (base: string) => readonly Readonly<{ id: string } & Record<string, unknown>>[],
  ): void {
    app.get<{ Querystring: Filter }>(`/v3/${plural}`, async (request) => {
      policy.require(askerOf(request), rule)
      const link = linkTo(request, publicUrl)
      const found = all(baseUrl(request, publicUrl)).filter(matches(request.query, filters))
      return listed(
        link,
        plural,
        found.map((item) => ({ ...item, links: { self: link(`/${plural}/${item.id}`) } })),
      )
    })
    app.get<ById>(`/v3/${plural}/:id`, async (request) => {
      policy.require(askerOf(request), rule)
      const found = all(baseUrl(request, publicUrl)).find(({ id }) => id === request.params.id)
      if (!found) throw refuse.notFound({ what: single[0]?.toUpperCase() + single.slice(1), id: request.params.id })
      return { [single]: { ...found, links: { self: linkTo(request, publicUrl)(`/${plural}/${found.id}`) } } }
    })
  }
}
