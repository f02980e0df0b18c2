import { z } from 'zod'
import { lockInstance, unlockInstance } from '../../../../app/instance-changes.ts'
import { read } from '../../../http/bodies.ts'
import { speaks } from '../../microversions.ts'
import { printable } from '../../names.ts'
import type { Action } from './action.ts'

const nothing = z.union([z.null(), z.undefined(), z.strictObject({})])
const reason = z.strictObject({ locked_reason: printable(255).optional() }).nullish()

export const lock: Action = async ({ needs, request, reply, caller, id, body }) => {
  if (!speaks(request, 73)) read(nothing, body)
  await lockInstance(needs, caller, id, read(reason, body)?.locked_reason ?? null)
  reply.code(202)
}

export const unlock: Action = async ({ needs, reply, caller, id, body }) => {
  read(nothing, body)
  await unlockInstance(needs, caller, id)
  reply.code(202)
}
