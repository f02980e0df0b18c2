import { z } from 'zod'
import { findInstance } from '../../../../app/instances.ts'
import { refuse } from '../../../../domain/refusals.ts'
import { read } from '../../../http/bodies.ts'
import type { Action } from './action.ts'

const request = z.strictObject({
  length: z
    .union([
      z.int(),
      z
        .string()
        .regex(/^-?\d{1,7}$/)
        .transform(Number),
    ])
    .pipe(z.int().min(-1).max(1_000_000))
    .nullish(),
})

/** The last so many lines of what the machine wrote to its serial console; all that is kept without a number or with -1. */
export const console: Action = async ({ needs, caller, id, body }) => {
  const instance = await findInstance(needs, caller, id, 'os_compute_api:os-console-output')
  const { length } = read(request, body ?? {})
  if (!instance.host_id)
    throw refuse.instanceWrongState({ action: 'get_console_output', id: instance.id, state: instance.state })
  const lines = length === undefined || length === null || length < 0 ? null : length
  return { output: lines === 0 ? '' : await needs.console(instance.host_id, instance.id, lines) }
}
