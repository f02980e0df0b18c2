import { z } from 'zod'
import { findInstance } from '../../../../app/instances.ts'
import { settled } from '../../../../app/outcome.ts'
import { read } from '../../../http/bodies.ts'
import { baseUrl } from '../../../http/links.ts'
import { speaks } from '../../microversions.ts'
import { labels, printable } from '../../names.ts'
import type { Action } from './action.ts'

const body = z.strictObject({ name: printable(255), metadata: labels.optional() })

/** An instance snapshot of all disks at one moment; the guest's file systems are frozen where its agent answers. */
export const createImage: Action = async ({ needs, request, reply, caller, id, body: given }) => {
  const instance = await findInstance(needs, caller, id, 'os_compute_api:servers:create_image')
  const { name, metadata = {} } = read(body, given)
  const { image, operation } = await needs.commands.createInstanceSnapshot(caller, {
    instance: instance.id,
    name,
    metadata,
    disks: null,
    consistency: 'filesystem',
  })
  request.audited.operation = operation
  await settled(needs.operations, operation)
  reply.code(202)
  if (speaks(request, 45)) return { image_id: image }
  reply.header('location', `${baseUrl(request, needs.settings.publicUrl)}/image/v2/images/${image}`)
  return undefined
}
