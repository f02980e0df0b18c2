import type { FastifyInstance, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { createFlavor, deleteFlavor, describeFlavor, type FlavorRow, findFlavor, listFlavors } from '../../../app/flavors.ts'
import { type Keys, pageOf } from '../../../app/paging.ts'
import { refuse } from '../../../domain/refusals.ts'
import { read } from '../../http/bodies.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { callerOf } from '../../http/request.ts'
import { requireMicroversion, speaks } from '../microversions.ts'
import { description, printable } from '../names.ts'
import { boolean, limitOf, type Query, queryOf, wholeNumber } from '../query.ts'
import { linksOf, nextLink } from './links.ts'

type ById = { Params: { id: string } }

const count = (least: number, most: number) =>
  z
    .union([
      z.int(),
      z
        .string()
        .regex(/^\d{1,10}$/, { message: 'It must be a whole number' })
        .transform(Number),
    ])
    .pipe(z.int().min(least).max(most))
const none = z.union([z.literal(0), z.literal('0')], { message: 'Ephemeral disks and swap are not offered' })

const body = z.strictObject({
  flavor: z.strictObject({
    name: printable(255),
    ram: count(1, 16_777_216),
    vcpus: count(1, 1024),
    disk: count(0, 65_536),
    id: z
      .union([
        z.null(),
        z.int().transform(String),
        z.string().regex(/^(?! )[a-zA-Z0-9. _-]{1,255}(?<! )$/, { message: 'An id has letters, digits, spaces and . _ -' }),
      ])
      .optional(),
    swap: none.optional(),
    'OS-FLV-EXT-DATA:ephemeral': none.optional(),
    rxtx_factor: z
      .union([z.literal(1), z.literal('1'), z.literal('1.0')], { message: 'Bandwidth factors are not offered' })
      .optional(),
    'os-flavor-access:is_public': z
      .union([z.boolean(), z.enum(['True', 'False', 'true', 'false']).transform((text) => /^true$/i.test(text))])
      .optional(),
    description: description.nullish(),
  }),
})
const change = z.strictObject({ flavor: z.strictObject({ description: description.nullable() }) })

const keys: Keys<FlavorRow> = {
  flavorid: ({ id }) => id,
  name: ({ name }) => name,
  memory_mb: ({ ram_mib }) => ram_mib,
  vcpus: ({ vcpus }) => vcpus,
  root_gb: ({ disk_gib }) => disk_gib,
  created_at: ({ created_at }) => created_at,
  id: ({ created_at }) => created_at,
}

export function flavors(app: FastifyInstance, needs: ApiNeeds): void {
  const { db, policy, settings } = needs

  const brief = (request: FastifyRequest, { id, name, description }: FlavorRow) => ({
    id,
    name,
    ...(speaks(request, 55) ? { description } : {}),
    links: linksOf(request, settings.publicUrl, 'flavors', id),
  })
  const full = (request: FastifyRequest, flavor: FlavorRow) => ({
    ...brief(request, flavor),
    ram: flavor.ram_mib,
    vcpus: flavor.vcpus,
    disk: flavor.disk_gib,
    'OS-FLV-EXT-DATA:ephemeral': flavor.ephemeral_gib,
    swap: flavor.swap_mib === 0 && !speaks(request, 75) ? '' : flavor.swap_mib,
    rxtx_factor: flavor.rxtx_factor,
    'OS-FLV-DISABLED:disabled': flavor.disabled,
    'os-flavor-access:is_public': flavor.is_public,
    ...(speaks(request, 61) ? { extra_specs: flavor.extra_specs } : {}),
  })

  for (const [path, view] of [
    ['/v2.1/flavors', brief],
    ['/v2.1/flavors/detail', full],
  ] as const)
    app.get(path, async (request) => {
      const query = queryOf(request)
      const found = await listFlavors(db, callerOf(request), {
        isPublic: publicOf(query),
        minDisk: wholeNumber('minDisk', query.one('minDisk') ?? '0'),
        minRam: wholeNumber('minRam', query.one('minRam') ?? '0'),
      })
      const sort = [{ key: query.one('sort_key') ?? 'flavorid', descending: query.one('sort_dir') === 'desc' }]
      const { items, more } = pageOf(found, { limit: limitOf(query), marker: query.one('marker') ?? null, sort }, keys)
      const last = items.at(-1)
      const links = more && last ? { flavors_links: nextLink(request, settings.publicUrl, `/compute${path}`, last.id) } : {}
      return { flavors: items.map((flavor) => view(request, flavor)), ...links }
    })

  app.get<ById>('/v2.1/flavors/:id', async (request) => ({
    flavor: full(request, await findFlavor(db, callerOf(request), request.params.id)),
  }))

  app.post('/v2.1/flavors', async (request) => {
    request.audited.action = 'os_compute_api:os-flavor-manage:create'
    policy.require(callerOf(request), 'os_compute_api:os-flavor-manage:create')
    const { flavor } = read(body, request.body)
    if (flavor.description !== undefined && !speaks(request, 55))
      throw refuse.malformed({
        why: "Additional properties are not allowed ('description' was unexpected before microversion 2.55)",
      })
    const made = await createFlavor(db, {
      id: flavor.id ?? null,
      name: flavor.name,
      vcpus: flavor.vcpus,
      ramMib: flavor.ram,
      diskGib: flavor.disk,
      isPublic: flavor['os-flavor-access:is_public'] ?? true,
      description: flavor.description ?? null,
    })
    request.audited.target = made.id
    return { flavor: full(request, made) }
  })

  // Nobody can be given access, so the list of those who have it is empty: administrators alone see such a flavor.
  app.get<ById>('/v2.1/flavors/:id/os-flavor-access', async (request) => {
    policy.require(callerOf(request), 'os_compute_api:os-flavor-access')
    const flavor = await findFlavor(db, callerOf(request), request.params.id)
    if (flavor.is_public) throw refuse.notFound({ what: 'Access list of public flavor', id: flavor.id })
    return { flavor_access: [] }
  })

  app.put<ById>('/v2.1/flavors/:id', async (request) => {
    requireMicroversion(request, 55)
    policy.require(callerOf(request), 'os_compute_api:os-flavor-manage:update')
    const { id } = await findFlavor(db, callerOf(request), request.params.id)
    return { flavor: full(request, await describeFlavor(db, id, read(change, request.body).flavor.description)) }
  })

  app.delete<ById>('/v2.1/flavors/:id', async (request, reply) => {
    policy.require(callerOf(request), 'os_compute_api:os-flavor-manage:delete')
    const { id } = await findFlavor(db, callerOf(request), request.params.id)
    await deleteFlavor(db, id)
    return reply.code(202).send()
  })
}

/** Administrators may ask for all, `None` in Python's spelling. */
function publicOf(query: Query): boolean | null {
  const text = query.one('is_public')
  return text?.toLowerCase() === 'none' ? null : (boolean('is_public', text) ?? true)
}
