import { z } from 'zod'
import { markInError } from '../../../../app/instance-changes.ts'
import { read } from '../../../http/bodies.ts'
import type { Action } from './action.ts'

const body = z.strictObject({
  state: z.literal('error', {
    message: 'Only error can be set. Whether an instance is active follows from its machine: start or stop it instead',
  }),
})

export const resetState: Action = async ({ needs, reply, caller, id, body: given }) => {
  read(z.strictObject({ 'os-resetState': body }), { 'os-resetState': given })
  await markInError(needs, caller, id)
  reply.code(202)
}
