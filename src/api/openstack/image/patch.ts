/** JSON patch as Glance takes it: whole attributes are added, replaced or removed. */
import { z } from 'zod'
import type { ImageFields } from '../../../app/image-changes.ts'
import { refuse } from '../../../domain/refusals.ts'
import { read } from '../../http/bodies.ts'
import { apply, isKnown, isReadOnly, withoutProperty } from './fields.ts'

const path = z.string().regex(/^\/[^/]{1,255}$/, { message: 'A path names one attribute: /name' })
const operations = z
  .array(
    z.discriminatedUnion('op', [
      z.object({ op: z.literal('add'), path, value: z.unknown() }),
      z.object({ op: z.literal('replace'), path, value: z.unknown() }),
      z.object({ op: z.literal('remove'), path }),
    ]),
  )
  .max(256)

export function patched(fields: ImageFields, body: unknown): ImageFields {
  return read(operations, body).reduce((before, operation) => {
    const name = operation.path.slice(1).replaceAll('~1', '/').replaceAll('~0', '~')
    if (operation.op === 'remove') return withoutProperty(before, name)
    const exists = isKnown(name) || isReadOnly(name) || Object.hasOwn(before.properties, name)
    if (operation.op === 'replace' && !exists) throw refuse.noProperty({ name })
    return apply(before, { [name]: operation.value })
  }, fields)
}
