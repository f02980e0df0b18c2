/** What an instance's config drive tells its guest, in the files and words of OpenStack, as cloud-init reads them. */
import { hostNameOf } from '../../domain/instance.ts'
import type { ConfigFile } from '../../ports/host-agent.ts'

export type Told = {
  readonly id: string
  readonly name: string
  readonly project_id: string
  readonly metadata: Readonly<Record<string, string>>
  readonly key_name: string | null
  readonly key_data: string | null
  /** In base64, as it was given. */
  readonly user_data: string | null
}

export function configFilesOf(instance: Told): readonly ConfigFile[] {
  const { id, name, project_id, metadata, key_name, key_data, user_data } = instance
  const key = key_name !== null && key_data !== null ? { name: key_name, data: key_data } : null
  const facts = {
    uuid: id,
    name,
    hostname: hostNameOf(instance),
    project_id,
    availability_zone: 'nova',
    launch_index: 0,
    meta: metadata,
    ...(key ? { public_keys: { [key.name]: key.data }, keys: [{ ...key, type: 'ssh' }] } : {}),
  }
  const metaData = { path: 'openstack/latest/meta_data.json', base64: Buffer.from(JSON.stringify(facts)).toString('base64') }
  return user_data === null ? [metaData] : [metaData, { path: 'openstack/latest/user_data', base64: user_data }]
}
