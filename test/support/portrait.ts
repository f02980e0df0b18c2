/** All that a rollback must leave as it is, from the API's own words and from the rows behind them. */
import pg from 'pg'
import type { Installation } from './installation.ts'
import type { OpenStack } from './openstack.ts'

type Row = Record<string, unknown>

/** What the instance's state, and the moments of its changes, are shown by. Everything else counts. */
const changing = [
  'status',
  'progress',
  'fault',
  'updated',
  'OS-EXT-STS:vm_state',
  'OS-EXT-STS:power_state',
  'OS-SRV-USG:launched_at',
] as const
const without = (row: Row, names: readonly string[]): Row =>
  Object.fromEntries(Object.entries(row).filter(([name]) => !names.includes(name)))

export async function portrait(box: Installation, cloud: OpenStack, id: string): Promise<Row> {
  const server = await cloud.server(id)
  const at = (path: string) => cloud.get(`/compute/v2.1/servers/${id}${path}`)
  const volumes = Object.values(await cloud.disks(id))
  const volumeViews = await Promise.all(
    volumes.map((volume) => cloud.get<{ volume: Row }>(cloud.volumePath(`/volumes/${volume}`))),
  )
  // Whether a port is up follows from whether its machine is.
  const { ports } = await cloud.get<{ ports: Row[] }>(`/network/v2.0/ports?device_id=${id}`)
  return {
    server: without(server, changing),
    ports: ports.map((port) => without(port, ['status'])),
    interfaces: await at('/os-interface'),
    addresses: await at('/ips'),
    attachments: await at('/os-volume_attachments'),
    metadata: await at('/metadata'),
    tags: await at('/tags'),
    keyPair: await cloud.get(`/compute/v2.1/os-keypairs/${String(server['key_name'])}`),
    volumes: volumeViews.map(({ volume }) => without(volume, ['updated_at'])),
    rows: await rowsOf(box.databaseUrl, id, volumes),
    absent: await absent(cloud, server),
  }
}

/** The head, its generation and how it was left are what a rollback is for. */
async function rowsOf(url: string, id: string, volumes: readonly string[]): Promise<Record<string, Row[]>> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    const read = async (text: string, value: unknown, minus: readonly string[] = []): Promise<Row[]> =>
      (await client.query<Row>(text, [value])).rows.map((row) => without(row, minus))
    return {
      instance: await read('select * from instances where id = $1', id, ['state', 'fault', 'launched_at', 'updated_at']),
      attachments: await read('select * from attachments where instance_id = $1 order by id', id),
      ports: await read('select * from ports where instance_id = $1 order by id', id),
      volumes: await read('select * from volumes where id = any($1) order by id', volumes, [
        'head_layer_id',
        'generation',
        'left_clean',
        'updated_at',
      ]),
    }
  } finally {
    await client.end()
  }
}

/** Of the list of what is preserved, these do not exist here yet. The day one of them does, it has to be compared above. */
async function absent(cloud: OpenStack, server: Row): Promise<Row> {
  const status = async (path: string) => (await cloud.ask('GET', path)).status
  return {
    floatingIps: await status('/network/v2.0/floatingips'),
    securityGroups: await status('/network/v2.0/security-groups'),
    securityGroupsOfServer: 'security_groups' in server ? 'shown' : 'not shown',
    floatingAddresses: JSON.stringify(server['addresses']).includes('"floating"') ? 'shown' : 'not shown',
  }
}

export const nothingOf = {
  floatingIps: 404,
  securityGroups: 404,
  securityGroupsOfServer: 'not shown',
  floatingAddresses: 'not shown',
}
