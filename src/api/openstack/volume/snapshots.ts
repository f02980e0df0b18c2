import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { settled } from '../../../app/outcome.ts'
import type { Keys } from '../../../app/paging.ts'
import { changeSnapshot, findSnapshot, findVolume, listSnapshots, type SnapshotDetail } from '../../../app/volumes.ts'
import { refuse } from '../../../domain/refusals.ts'
import { read } from '../../http/bodies.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { callerOf } from '../../http/request.ts'
import { flag } from '../flags.ts'
import { speaks } from '../microversions.ts'
import { description, labels, printable } from '../names.ts'
import { type Query, queryOf } from '../query.ts'
import { evenIfGone } from '../repeats.ts'
import { cinderPage, metadataMatches, nameMatches, whoseOf } from './paging.ts'
import { snapshotBrief, snapshotStatus, snapshotView } from './views.ts'

type ById = { Params: { id: string } }

const name = printable(255, 0)

const creation = z.strictObject({
  snapshot: z.strictObject({
    volume_id: z.uuid(),
    name: name.nullish(),
    display_name: name.nullish(),
    description: description.nullish(),
    display_description: description.nullish(),
    metadata: labels.nullish(),
    force: flag.nullish(),
  }),
})
const change = z.strictObject({
  snapshot: z.strictObject({
    name: name.nullish(),
    display_name: name.nullish(),
    description: description.nullish(),
    display_description: description.nullish(),
  }),
})

const keys: Keys<SnapshotDetail> = {
  created_at: ({ created_at }) => created_at,
  updated_at: ({ updated_at }) => updated_at,
  name: ({ name }) => name,
  display_name: ({ name }) => name,
  size: ({ size_bytes }) => size_bytes,
  status: snapshotStatus,
  id: ({ id }) => id,
  volume_id: ({ volume_id }) => volume_id,
}

export function snapshots(app: FastifyInstance, needs: ApiNeeds): void {
  const { commands, policy } = needs

  for (const [path, view] of [
    ['/v3/snapshots', snapshotBrief],
    ['/v3/snapshots/detail', snapshotView],
  ] as const)
    app.get(path, async (request) => {
      policy.require(callerOf(request), 'volume:get_all_snapshots')
      const query = queryOf(request)
      const found = (await listSnapshots(needs, whoseOf(request, needs))).filter((snapshot) => matches(snapshot, query))
      const { items, around } = cinderPage(request, needs, 'snapshots', found, keys)
      return { snapshots: items.map((snapshot) => view(request, snapshot)), ...around }
    })

  app.post('/v3/snapshots', async (request, reply) => {
    request.audited.action = 'volume:create_snapshot'
    const caller = callerOf(request)
    const { snapshot } = read(creation, request.body)
    const { id } = await findVolume(needs, caller, snapshot.volume_id, 'volume:create_snapshot')
    const always = speaks(request, 66)
    if (always && snapshot.force === false)
      throw refuse.malformed({ why: 'Since microversion 3.66 a snapshot of a volume in use needs no force: leave it out.' })
    const started = await commands.createVolumeSnapshot(caller, {
      volume: id,
      name: snapshot.name ?? snapshot.display_name ?? '',
      description: snapshot.description ?? snapshot.display_description ?? null,
      metadata: snapshot.metadata ?? {},
      force: always || (snapshot.force ?? false),
      consistency: 'crash',
    })
    request.audited.operation = started.operation
    request.audited.target = started.snapshot
    const made = await findSnapshot(needs, caller, started.snapshot, 'volume:get_snapshot')
    const view = snapshotBrief(request, made)
    await settled(needs.operations, started.operation)
    return reply.code(202).send({ snapshot: view })
  })

  app.get<ById>('/v3/snapshots/:id', async (request) => ({
    snapshot: snapshotView(request, await findSnapshot(needs, callerOf(request), request.params.id, 'volume:get_snapshot')),
  }))

  app.put<ById>('/v3/snapshots/:id', async (request) => {
    request.audited.action = 'volume:update_snapshot'
    const caller = callerOf(request)
    await findSnapshot(needs, caller, request.params.id, 'volume:update_snapshot')
    const { snapshot } = read(change, request.body)
    const name = snapshot.name ?? snapshot.display_name
    const text = snapshot.description === undefined ? snapshot.display_description : snapshot.description
    const changed = await changeSnapshot(needs, caller, request.params.id, 'volume:update_snapshot', () => ({
      ...(name == null ? {} : { name }),
      ...(text === undefined ? {} : { description: text }),
    }))
    return { snapshot: snapshotBrief(request, changed) }
  })

  app.delete<ById>('/v3/snapshots/:id', async (request, reply) => {
    request.audited.action = 'volume:delete_snapshot'
    const caller = callerOf(request)
    const { id: name } = request.params
    const id = await evenIfGone(caller, name, findSnapshot(needs, caller, name, 'volume:delete_snapshot'))
    const { operation } = await commands.deleteVolumeSnapshot(caller, id, { confirm: null })
    request.audited.operation = operation
    await settled(needs.operations, operation)
    return reply.code(202).send()
  })
}

function matches(snapshot: SnapshotDetail, query: Query): boolean {
  const is = (key: string, value: string) => query.one(key) === undefined || query.one(key) === value
  return (
    nameMatches(snapshot.name, query) &&
    metadataMatches(snapshot.metadata, query) &&
    is('status', snapshotStatus(snapshot)) &&
    is('volume_id', snapshot.volume_id) &&
    is('id', snapshot.id)
  )
}
