/** Nova's forms of an instance. Every microversion that added or took away a field stands beside that field. */
import { createHash } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import type { Busy, InstanceDetail, InstanceRow } from '../../../../app/instances.ts'
import { hostNameOf, vmStateOf } from '../../../../domain/instance.ts'
import type { ApiNeeds } from '../../../http/needs.ts'
import { callerOf } from '../../../http/request.ts'
import { speaks } from '../../microversions.ts'
import { linksOf, microseconds, seconds } from '../links.ts'

type Needs = Pick<ApiNeeds, 'policy' | 'settings'>

const taskOf: Readonly<Record<string, string>> = {
  'create-instance': 'spawning',
  'start-instance': 'powering-on',
  'stop-instance': 'powering-off',
  'reboot-instance': 'rebooting',
  'delete-instance': 'deleting',
  'take-points': 'image_snapshot',
  'replace-heads': 'xloud_rollback',
}

export const taskStateOf = ({ activity }: Pick<Busy<InstanceRow>, 'activity'>): string | null =>
  (activity && taskOf[activity]) ?? null

/** What people see: the state, and for a few things what is being done. */
export function statusOf({ state, activity, paused_because: paused }: Busy<InstanceRow>): string {
  if (activity === 'reboot-instance') return 'REBOOT'
  if (activity === 'create-instance') return 'BUILD'
  if (state === 'running') return paused ? 'PAUSED' : 'ACTIVE'
  return { building: 'BUILD', stopped: 'SHUTOFF', error: 'ERROR', deleting: 'ACTIVE', deleted: 'DELETED' }[state]
}

const vmStateIn = ({ state, activity, paused_because: paused }: Busy<InstanceRow>): string => {
  if (activity === 'create-instance') return 'building'
  return paused && state === 'running' ? 'paused' : vmStateOf[state]
}

const powerStateOf = ({ state, paused_because: paused }: InstanceRow): number =>
  state === 'running' ? (paused ? 3 : 1) : state === 'stopped' ? 4 : 0

export const serverBrief = (request: FastifyRequest, { settings }: Needs, { id, name }: Pick<InstanceRow, 'id' | 'name'>) => ({
  id,
  name,
  links: linksOf(request, settings.publicUrl, 'servers', id),
})

export type ServerForm = 'show' | 'detail' | 'update'

export function serverView(request: FastifyRequest, needs: Needs, server: Busy<InstanceDetail>, form: ServerForm) {
  const since = (minor: number) => speaks(request, minor)
  const { policy, settings } = needs
  const caller = callerOf(request)
  const extended = policy.allows(caller, 'os_compute_api:os-extended-server-attributes', { project_id: server.project_id })
  const hostStatus = policy.allows(caller, 'os_compute_api:servers:show:host_status', { project_id: server.project_id })
  return {
    ...serverBrief(request, needs, server),
    status: statusOf(server),
    tenant_id: server.project_id,
    user_id: server.user_id,
    metadata: server.metadata,
    hostId: server.hostName ? createHash('sha224').update(`${server.project_id}${server.hostName}`).digest('hex') : '',
    // Every instance boots from volumes, and Nova shows no image for those.
    image: '',
    flavor: flavorIn(request, settings.publicUrl, server),
    created: seconds(server.created_at),
    updated: seconds(server.updated_at),
    addresses: addressesOf(server),
    accessIPv4: '',
    accessIPv6: '',
    'OS-DCF:diskConfig': 'MANUAL',
    ...(server.state === 'error' && server.fault
      ? { fault: { code: server.fault.code, created: seconds(new Date(server.fault.at)), message: server.fault.message } }
      : { progress: server.state === 'building' ? 0 : 100 }),
    ...(form === 'update' && !since(75) ? {} : machineOf(server)),
    ...(extended ? extendedOf(server, since(3)) : {}),
    ...(since(90) && !extended ? { 'OS-EXT-SRV-ATTR:hostname': hostNameOf(server) } : {}),
    ...(since(9) ? { locked: server.locked } : {}),
    ...(since(73) ? { locked_reason: server.locked_reason } : {}),
    ...(since(16) && hostStatus ? { host_status: hostStatusOf(server, settings.hostSilentSeconds) } : {}),
    ...(since(19) ? { description: server.description } : {}),
    ...(since(26) ? { tags: server.tags } : {}),
    ...(since(63) ? { trusted_image_certificates: null } : {}),
    ...(since(71) && form !== 'detail' ? { server_groups: [] } : {}),
    'os-extended-volumes:volumes_attached': server.attachments.map(({ volume_id, delete_on_termination }) => ({
      id: volume_id,
      ...(since(3) ? { delete_on_termination } : {}),
    })),
  }
}

const machineOf = (server: Busy<InstanceDetail>) => ({
  config_drive: server.boot.configDrive ? 'True' : '',
  key_name: server.key_name,
  'OS-EXT-AZ:availability_zone': server.hostName ? 'nova' : '',
  'OS-EXT-STS:vm_state': vmStateIn(server),
  'OS-EXT-STS:task_state': taskStateOf(server),
  'OS-EXT-STS:power_state': powerStateOf(server),
  'OS-SRV-USG:launched_at': server.launched_at && microseconds(server.launched_at),
  'OS-SRV-USG:terminated_at': server.terminated_at && microseconds(server.terminated_at),
})

const extendedOf = (server: InstanceDetail, since3: boolean) => ({
  'OS-EXT-SRV-ATTR:host': server.hostName,
  'OS-EXT-SRV-ATTR:hypervisor_hostname': server.hostName,
  'OS-EXT-SRV-ATTR:instance_name': `instance-${server.seq.toString(16).padStart(8, '0')}`,
  ...(since3
    ? {
        'OS-EXT-SRV-ATTR:hostname': hostNameOf(server),
        'OS-EXT-SRV-ATTR:kernel_id': server.boot.kernelId ?? '',
        'OS-EXT-SRV-ATTR:ramdisk_id': server.boot.ramdiskId ?? '',
        'OS-EXT-SRV-ATTR:launch_index': 0,
        'OS-EXT-SRV-ATTR:reservation_id': `r-${server.id.slice(0, 8)}`,
        'OS-EXT-SRV-ATTR:root_device_name': `/dev/${rootOf(server) ?? 'vda'}`,
        'OS-EXT-SRV-ATTR:user_data': server.user_data,
      }
    : {}),
})

const rootOf = ({ attachments }: InstanceDetail) =>
  (attachments.find(({ boot_index }) => boot_index === 0) ?? attachments[0])?.device

const hostStatusOf = ({ hostName, hostSeenAt }: InstanceDetail, silentSeconds: number): string => {
  if (!hostName) return ''
  return hostSeenAt && Date.now() - hostSeenAt.getTime() < silentSeconds * 1000 ? 'UP' : 'UNKNOWN'
}

/** Up to 2.46 a link, from then on what the instance has, whatever became of its flavor. */
function flavorIn(request: FastifyRequest, publicUrl: string | null, { flavor }: InstanceRow) {
  if (!speaks(request, 47)) {
    const [, bookmark] = linksOf(request, publicUrl, 'flavors', flavor.id)
    return { id: flavor.id, links: [bookmark] }
  }
  return {
    original_name: flavor.name,
    vcpus: flavor.vcpus,
    ram: flavor.ramMib,
    disk: flavor.diskGib,
    ephemeral: 0,
    swap: 0,
    extra_specs: {},
  }
}

export function addressesOf({ ports }: Pick<InstanceDetail, 'ports'>) {
  const byNetwork = new Map<string, object[]>()
  for (const { network, mac, fixed_ip: addr } of ports) {
    const address = { version: addr.includes(':') ? 6 : 4, addr, 'OS-EXT-IPS:type': 'fixed', 'OS-EXT-IPS-MAC:mac_addr': mac }
    byNetwork.set(network, [...(byNetwork.get(network) ?? []), address])
  }
  return Object.fromEntries(byNetwork)
}
