/** Neutron's forms of the network there is, its subnet and the instances' ports. */
import type { NetworkRow, PortDetail } from '../../../app/networks.ts'

const seconds = (date: Date) => date.toISOString().replace(/\.\d+Z$/, 'Z')
const times = (date: Date) => ({
  created_at: seconds(date),
  updated_at: seconds(date),
  revision_number: 0,
  tags: [],
  description: '',
})

/** Everybody's: it belongs to no project. */
export const networkView = (network: NetworkRow) => ({
  id: network.id,
  name: network.name,
  status: 'ACTIVE',
  admin_state_up: true,
  shared: true,
  'router:external': false,
  mtu: 1500,
  subnets: [network.subnet_id],
  project_id: '',
  tenant_id: '',
  availability_zones: ['nova'],
  ...times(network.created_at),
})

export const subnetView = (network: NetworkRow) => ({
  id: network.subnet_id,
  name: `${network.name}-subnet`,
  network_id: network.id,
  cidr: network.cidr,
  gateway_ip: network.gateway,
  ip_version: 4,
  enable_dhcp: true,
  dns_nameservers: [],
  host_routes: [],
  allocation_pools: [],
  ipv6_address_mode: null,
  ipv6_ra_mode: null,
  project_id: '',
  tenant_id: '',
  ...times(network.created_at),
})

export const portView = (port: PortDetail) => ({
  id: port.id,
  name: '',
  network_id: port.network_id,
  mac_address: port.mac,
  fixed_ips: [{ subnet_id: port.subnet, ip_address: port.fixed_ip }],
  device_id: port.instance_id ?? '',
  device_owner: port.instance_id ? 'compute:nova' : '',
  status: port.running ? 'ACTIVE' : 'DOWN',
  admin_state_up: true,
  project_id: port.project_id,
  tenant_id: port.project_id,
  ...times(port.created_at),
})
