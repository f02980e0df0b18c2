import { z } from 'zod'
import { lockInstance, unlockInstance } from '../../../../app/instance-changes.ts'
import { read } from '../../../http/bodies.ts'
import { speaks } from '../../microversions.ts'
import { printable } from '../../names.ts'
import type { Action } from './actions.ts'

const nothing = z.union([z.null(), z.undefined(), z.strictObject({})])
const reason = z.union([z.null(), z.undefined(), z.strictObject({ locked_reason: printable(255).optional() })])

export const lock: Action = async ({ needs, request, reply, caller, id, body }) => {
  const given = read(speaks(request, 73) ? reason : nothing, body)
  const why = given && 'locked_reason' in given ? given.locked_reason : undefined
  await lockInstance(needs, caller, id, why ?? null)
  reply.code(202)
}

export const unlock: Action = async ({ needs, reply, caller, id, body }) => {
  read(nothing, body)
  await unlockInstance(needs, caller, id)
  reply.code(202)
}
