/** `POST /volumes/{id}/action` and `POST /snapshots/{id}/action`: the body's one key says which. */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { settled } from '../../../app/outcome.ts'
import { changeSnapshot, changeVolume, findVolume } from '../../../app/volumes.ts'
import { asId, type SnapshotId } from '../../../domain/ids.ts'
import { refuse } from '../../../domain/refusals.ts'
import { GiB } from '../../../domain/volume.ts'
import { read } from '../../http/bodies.ts'
import type { ApiNeeds } from '../../http/needs.ts'
import { callerOf } from '../../http/request.ts'
import { flag } from '../flags.ts'
import { requireMicroversion } from '../microversions.ts'
import { labels } from '../names.ts'
import { size } from './volumes.ts'

type ById = { Params: { id: string } }
type Action = (needs: ApiNeeds, request: FastifyRequest<ById>, body: unknown) => Promise<{ status: number; body?: object }>

const extend: Action = async ({ commands, ...needs }, request, body) => {
  const caller = callerOf(request)
  const { id } = await findVolume(needs, caller, request.params.id, 'volume:extend')
  const { new_size } = read(z.strictObject({ new_size: size }), body)
  const { operation } = await commands.extendVolume(caller, id, new_size * GiB)
  request.audited.operation = operation
  await settled(needs.operations, operation)
  return { status: 202 }
}

/** Cinder allows only the latest snapshot; here it may be any. */
const revert: Action = async ({ commands, ...needs }, request, body) => {
  requireMicroversion(request, 40)
  const caller = callerOf(request)
  const { id } = await findVolume(needs, caller, request.params.id, 'volume:revert_to_snapshot')
  const { snapshot_id } = read(z.strictObject({ snapshot_id: z.uuid() }), body)
  const { operation } = await commands.restoreVolume(caller, id, asId<SnapshotId>(snapshot_id), {
    skipSafetySnapshot: false,
    confirm: null,
  })
  request.audited.operation = operation
  await settled(needs.operations, operation)
  return { status: 202 }
}

const setBootable: Action = async (needs, request, body) => {
  const { bootable } = read(z.strictObject({ bootable: flag }), body)
  await changeVolume(needs, callerOf(request), request.params.id, 'volume_extension:volume_actions:set_bootable', () => ({
    bootable,
  }))
  return { status: 200 }
}

/** A volume is called well or broken; what is attached or being done to it is seen, not set. */
const resetStatus: Action = async (needs, request, body) => {
  const rule = 'volume_extension:volume_admin_actions:reset_status'
  await findVolume(needs, callerOf(request), request.params.id, rule)
  const words = z.enum(['available', 'in-use', 'error'], { message: 'Only available, in-use and error can be set' })
  const { status } = read(z.strictObject({ status: words }), body)
  await changeVolume(needs, callerOf(request), request.params.id, rule, ({ state }) => {
    if (state !== 'ready' && state !== 'error')
      throw refuse.volumeWrongState({ id: request.params.id, needs: 'available or error', state })
    return { state: status === 'error' ? 'error' : 'ready' }
  })
  return { status: 202 }
}

const setImageMetadata: Action = async (needs, request, body) => {
  const { metadata } = read(z.strictObject({ metadata: labels }), body)
  const rule = 'volume_extension:volume_image_metadata:set'
  const { image_metadata } = await changeVolume(needs, callerOf(request), request.params.id, rule, (before) => ({
    image_metadata: read(labels, { ...before.image_metadata, ...metadata }),
  }))
  return { status: 200, body: { metadata: image_metadata ?? {} } }
}

const unsetImageMetadata: Action = async (needs, request, body) => {
  const { key } = read(z.strictObject({ key: z.string().min(1).max(255) }), body)
  await changeVolume(needs, callerOf(request), request.params.id, 'volume_extension:volume_image_metadata:remove', (before) => {
    const { [key]: removed, ...rest } = before.image_metadata ?? {}
    if (removed === undefined) throw refuse.notFound({ what: 'Metadata item', id: key })
    return { image_metadata: rest }
  })
  return { status: 200 }
}

const showImageMetadata: Action = async (needs, request) => {
  const { image_metadata } = await findVolume(needs, callerOf(request), request.params.id, 'volume:get')
  return { status: 200, body: { metadata: image_metadata ?? {} } }
}

const volumeActions: Readonly<Record<string, Action>> = {
  'os-extend': extend,
  revert,
  'os-set_bootable': setBootable,
  'os-reset_status': resetStatus,
  'os-set_image_metadata': setImageMetadata,
  'os-unset_image_metadata': unsetImageMetadata,
  'os-show_image_metadata': showImageMetadata,
}

const resetSnapshotStatus: Action = async (needs, request, body) => {
  const words = z.enum(['available', 'error'], { message: 'Only available and error can be set' })
  const { status } = read(z.strictObject({ status: words }), body)
  const rule = 'volume_extension:snapshot_admin_actions:reset_status'
  await changeSnapshot(needs, callerOf(request), request.params.id, rule, ({ state, point_id: point }) => {
    if (state === 'creating' || state === 'deleting' || (status === 'available' && point === null))
      throw refuse.snapshotHasDependents({
        id: request.params.id,
        why: `is ${state} and holds nothing that could be called ${status}`,
      })
    return { state: status }
  })
  return { status: 202 }
}

const snapshotActions: Readonly<Record<string, Action>> = { 'os-reset_status': resetSnapshotStatus }

export function actions(app: FastifyInstance, needs: ApiNeeds): void {
  for (const [path, known] of [
    ['/v3/volumes/:id/action', volumeActions],
    ['/v3/snapshots/:id/action', snapshotActions],
  ] as const)
    app.post<ById>(path, async (request, reply) => {
      const [entry, ...more] = Object.entries(read(z.record(z.string(), z.unknown()), request.body))
      if (!entry || more.length > 0) throw refuse.malformed({ why: 'There must be exactly one action in the body.' })
      const [name, body] = entry
      const action = Object.hasOwn(known, name) ? known[name] : undefined
      if (!action) throw refuse.malformed({ why: `There is no such action: ${name.slice(0, 60)}` })
      request.audited.action = name
      const answer = await action(needs, request, body)
      return reply.code(answer.status).send(answer.body)
    })
}
