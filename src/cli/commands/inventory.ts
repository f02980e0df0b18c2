import { endpoints } from '../../../contract/index.ts'
import type { InstanceView } from '../../../contract/instances.ts'
import { type Adder, action, count, examples } from '../command.ts'
import { findInstance } from '../find.ts'
import { doing, fields, size, table, when } from '../output.ts'
import type { Session } from '../session.ts'
import { addInstanceBackup } from './back-up.ts'

export const inventoryCommands: Adder = (program, terminal) => {
  const instances = program.command('instances').description('Lists, shows and backs up instances.')
  instances
    .command('list', { isDefault: true })
    .description('Lists instances.')
    .option('--all-projects', 'of all projects (administrators)')
    .option('--limit <count>', 'at most so many', count, 100)
    .addHelpText('after', examples('instances', 'instances -o json'))
    .action(action(terminal, listInstances))
  addInstanceBackup(instances, terminal)
  instances
    .command('show')
    .description('Shows an instance and its disks.')
    .argument('<instance>', 'name or id')
    .addHelpText('after', examples('instances show web'))
    .action(action(terminal, showInstance))
}

export type ListOptions = { allProjects?: boolean; limit: number }
export const queryOf = ({ allProjects, limit }: ListOptions) => ({
  limit,
  ...(allProjects ? { all_projects: 'true' as const } : {}),
})

async function listInstances(session: Session, options: ListOptions): Promise<void> {
  const page = await session.client.call(endpoints.listInstances, { query: queryOf(options) })
  session.print(page, ({ items }) =>
    table(
      ['id', 'name', 'state', 'busy with', 'flavor', 'addresses', 'disks', 'host'],
      items.map((one) => [
        one.id,
        one.name,
        stateOf(one),
        one.busy_with && doing(one.busy_with.kind),
        one.flavor.name,
        ...places(one),
      ]),
    ),
  )
}

const stateOf = ({ state, paused_because }: InstanceView) =>
  paused_because === null ? state : `${state}, paused: ${paused_because}`
const places = ({ addresses, disks, host }: InstanceView) => [
  addresses.join(' ') || null,
  disks.map(({ device }) => device).join(' ') || null,
  host,
]

async function showInstance(session: Session, _options: object, name: string): Promise<void> {
  session.print(await findInstance(session, name), (one) => {
    const facts = fields({
      id: one.id,
      name: one.name,
      state: stateOf(one),
      'busy with': one.busy_with ? `${doing(one.busy_with.kind)} (${one.busy_with.operation})` : null,
      fault: one.fault,
      flavor: `${one.flavor.name} (${one.flavor.vcpus} CPU, ${one.flavor.ram_mib} MiB)`,
      addresses: one.addresses.join(' '),
      host: one.host,
      created: when(one.created_at),
    })
    const rows = one.disks.map((disk) => [disk.device, disk.volume, disk.name, size(disk.size_bytes)])
    return `${facts}\n\n${table(['device', 'volume', 'name', 'size'], rows)}`
  })
}
