import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import type { Caller } from '../../../app/caller.ts'
import type { PolicyName } from '../../../app/policy/policy.ts'
import { changeSnapshot, changeVolume, findSnapshot, findVolume } from '../../../app/volumes.ts'
import { refuse } from '../../../domain/refusals.ts'
import { read } from '../../http/bodies.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { callerOf } from '../../http/request.ts'
import { labels } from '../names.ts'

type ById = { Params: { id: string } }
type ByKey = { Params: { id: string; key: string } }
type Labels = Readonly<Record<string, string>>

type Owner = {
  readonly path: string
  readonly rules: { readonly get: PolicyName; readonly change: PolicyName; readonly remove: PolicyName }
  readonly find: (needs: ApiNeeds, caller: Caller, id: string, rule: PolicyName) => Promise<{ metadata: Labels }>
  readonly change: (
    needs: ApiNeeds,
    caller: Caller,
    id: string,
    rule: PolicyName,
    change: (before: { metadata: Labels }) => { metadata: Labels },
  ) => Promise<{ metadata: Labels }>
}

const owners: readonly Owner[] = [
  {
    path: '/v3/volumes/:id/metadata',
    rules: {
      get: 'volume:get_volume_metadata',
      change: 'volume:update_volume_metadata',
      remove: 'volume:delete_volume_metadata',
    },
    find: findVolume,
    change: changeVolume,
  },
  {
    path: '/v3/snapshots/:id/metadata',
    rules: {
      get: 'volume:get_snapshot_metadata',
      change: 'volume:update_snapshot_metadata',
      remove: 'volume:delete_snapshot_metadata',
    },
    find: findSnapshot,
    change: changeSnapshot,
  },
]

const all = z.strictObject({ metadata: labels })
const one = z.strictObject({ meta: labels })

export function metadata(app: FastifyInstance, needs: ApiNeeds): void {
  for (const { path, rules, find, change } of owners) {
    app.get<ById>(path, async (request) => {
      const { metadata } = await find(needs, callerOf(request), request.params.id, rules.get)
      return { metadata }
    })
    app.post<ById>(path, async (request) => {
      const given = read(all, request.body).metadata
      const { metadata } = await change(needs, callerOf(request), request.params.id, rules.change, (before) => ({
        metadata: read(labels, { ...before.metadata, ...given }),
      }))
      return { metadata }
    })
    app.put<ById>(path, async (request) => {
      const given = read(all, request.body).metadata
      const { metadata } = await change(needs, callerOf(request), request.params.id, rules.change, () => ({ metadata: given }))
      return { metadata }
    })
    app.get<ByKey>(`${path}/:key`, async (request) => {
      const { id, key } = request.params
      const { metadata } = await find(needs, callerOf(request), id, rules.get)
      return { meta: { [key]: valueAt(metadata, key) } }
    })
    app.put<ByKey>(`${path}/:key`, async (request) => {
      const { id, key } = request.params
      const { meta } = read(one, request.body)
      if (Object.keys(meta).join() !== key) throw refuse.malformed({ why: 'Request body and URI mismatch' })
      await change(needs, callerOf(request), id, rules.change, (before) => ({
        metadata: read(labels, { ...before.metadata, ...meta }),
      }))
      return { meta }
    })
    app.delete<ByKey>(`${path}/:key`, async (request, reply) => {
      const { id, key } = request.params
      await change(needs, callerOf(request), id, rules.remove, ({ metadata }) => {
        valueAt(metadata, key)
        const { [key]: _removed, ...rest } = metadata
        return { metadata: rest }
      })
      return reply.code(200).send()
    })
  }
}

function valueAt(metadata: Labels, key: string): string {
  const value = Object.hasOwn(metadata, key) ? metadata[key] : undefined
  if (value === undefined) throw refuse.notFound({ what: 'Metadata item', id: key })
  return value
}
