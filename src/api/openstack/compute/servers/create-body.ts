/** What a request for a new server may say. What Nova knows and we do not offer is refused by name, never passed over. */
import { z } from 'zod'
import { refuse } from '../../../../domain/refusals.ts'
import type { Microversion } from '../../../http/request.ts'
import { description, labels, printable } from '../../names.ts'
import { flag, mapping } from './disks.ts'

const notOffered = (why: string) =>
  z
    .unknown()
    .refine((value) => value === undefined || value === null || isEmpty(value), { message: why })
    .optional()

const isEmpty = (value: unknown): boolean =>
  value === '' || value === false || (typeof value === 'object' && value !== null && Object.keys(value).length === 0)

const count = z
  .union([
    z.int(),
    z
      .string()
      .regex(/^\d{1,4}$/)
      .transform(Number),
  ])
  .pipe(z.int().min(1).max(100))

const network = z.strictObject({
  uuid: z.string().max(64).optional(),
  fixed_ip: z.union([z.ipv4(), z.ipv6()]).optional(),
  port: notOffered('Ports are made with the instance; name a network by its uuid'),
  tag: notOffered('Tags of network interfaces are not offered'),
})

export const tag = z
  .string()
  .min(1)
  .max(60)
  .regex(/^[^,/\p{Cc}]+$/u, { message: 'A tag has no comma and no slash' })

const fields = {
  name: printable(255),
  imageRef: z.union([z.literal(''), z.uuid(), z.url()]).nullish(),
  flavorRef: z.union([z.string().min(1).max(255), z.int().transform(String)]),
  metadata: labels.nullish(),
  networks: z.union([z.literal('auto'), z.literal('none'), z.array(network).max(8)]).nullish(),
  block_device_mapping_v2: z.array(mapping).max(26).nullish(),
  key_name: z.string().min(1).max(255).nullish(),
  user_data: z.base64().max(65_535).nullish(),
  min_count: count.nullish(),
  max_count: count.nullish(),
  return_reservation_id: z.boolean().nullish(),
  availability_zone: z.string().max(255).nullish(),
  'OS-DCF:diskConfig': z.enum(['AUTO', 'MANUAL']).nullish(),
  security_groups: z
    .array(z.strictObject({ name: z.literal('default', { message: 'Security groups are not offered' }) }))
    .nullish(),
  block_device_mapping: notOffered('Use block_device_mapping_v2'),
  config_drive: flag.nullish().or(z.literal('').transform(() => null)),
  personality: notOffered('Personality files are not offered: use user_data'),
  adminPass: notOffered('Setting a password is not offered: use key_name or user_data'),
  accessIPv4: notOffered('Access addresses are not offered'),
  accessIPv6: notOffered('Access addresses are not offered'),
  // Since the microversions named in `since`.
  description: description.nullish(),
  tags: z.array(tag).max(50).nullish(),
  trusted_image_certificates: notOffered('Trusted image certificates are not offered'),
  host: z.string().max(255).nullish(),
  hypervisor_hostname: z.string().max(255).nullish(),
  hostname: notOffered('The host name follows from the name'),
}

const since: Readonly<Record<string, number>> = {
  description: 19,
  tags: 52,
  trusted_image_certificates: 63,
  host: 74,
  hypervisor_hostname: 74,
  hostname: 90,
}

const hints = notOffered('Scheduler hints are not offered')
const body = z.strictObject({
  server: z.strictObject(fields),
  'os:scheduler_hints': hints.optional(),
  'OS-SCH-HNT:scheduler_hints': hints.optional(),
})

export type ServerRequest = z.infer<typeof body>['server']

export function readServer(input: unknown, [, minor]: Microversion): ServerRequest {
  const { server } = body.parse(input)
  for (const [name, from] of Object.entries(since))
    if (minor < from && Object.hasOwn(server, name))
      throw refuse.malformed({
        why: `Additional properties are not allowed ('${name}' was unexpected before microversion 2.${from})`,
      })
  if (minor >= 37 && (server.networks === undefined || server.networks === null))
    throw refuse.malformed({ why: "Invalid input for field/attribute server. 'networks' is a required property" })
  if (minor < 37 && typeof server.networks === 'string')
    throw refuse.malformed({ why: `Invalid input for field/attribute networks. '${server.networks}' needs microversion 2.37.` })
  return server
}
