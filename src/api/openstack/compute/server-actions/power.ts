import { z } from 'zod'
import { findInstance } from '../../../../app/instances.ts'
import { settled } from '../../../../app/outcome.ts'
import { usualStop } from '../../../../domain/instance.ts'
import { read } from '../../../http/bodies.ts'
import type { Action } from './action.ts'

const nothing = z.union([z.null(), z.undefined(), z.strictObject({})])
const kind = z.strictObject({
  type: z
    .string()
    .transform((text) => text.toUpperCase())
    .pipe(z.enum(['SOFT', 'HARD'])),
})

export const start: Action = async ({ needs, request, reply, caller, id, body }) => {
  const instance = await findInstance(needs, caller, id, 'os_compute_api:servers:start')
  read(nothing, body)
  const { operation } = await needs.commands.startInstance(caller, instance.id)
  request.audited.operation = operation
  await settled(needs.operations, operation)
  reply.code(202)
}

export const stop: Action = async ({ needs, request, reply, caller, id, body }) => {
  const instance = await findInstance(needs, caller, id, 'os_compute_api:servers:stop')
  read(nothing, body)
  const { operation } = await needs.commands.stopInstance(caller, instance.id, usualStop)
  request.audited.operation = operation
  await settled(needs.operations, operation)
  reply.code(202)
}

export const reboot: Action = async ({ needs, request, reply, caller, id, body }) => {
  const instance = await findInstance(needs, caller, id, 'os_compute_api:servers:reboot')
  const { type } = read(kind, body)
  const how = type === 'HARD' ? ({ mode: 'hard', graceSeconds: 0 } as const) : usualStop
  const { operation } = await needs.commands.rebootInstance(caller, instance.id, how)
  request.audited.operation = operation
  await settled(needs.operations, operation)
  reply.code(202)
}
