import { endpoints } from '../../../contract/index.ts'
import type { InstanceView } from '../../../contract/instances.ts'
import type { VolumeView } from '../../../contract/volumes.ts'
import { type Adder, action, count, examples, type Waiting, waitable } from '../command.ts'
import { findInstance, findVolume } from '../find.ts'
import { doing, fields, size, table, when } from '../output.ts'
import { awaitEnd, mustBeDone } from '../progress.ts'
import type { Session } from '../session.ts'

export const inventoryCommands: Adder = (program, terminal) => {
  const instances = program.command('instances').description('Lists and shows instances.')
  instances
    .command('list', { isDefault: true })
    .description('Lists instances.')
    .option('--all-projects', 'of all projects (administrators)')
    .option('--limit <count>', 'at most so many', count, 100)
    .addHelpText('after', examples('instances', 'instances -o json'))
    .action(action(terminal, listInstances))
  instances
    .command('show')
    .description('Shows an instance and its disks.')
    .argument('<instance>', 'name or id')
    .addHelpText('after', examples('instances show web'))
    .action(action(terminal, showInstance))

  const volumes = program.command('volumes').description('Lists, shows and reverts volumes.')
  volumes
    .command('list', { isDefault: true })
    .description('Lists volumes.')
    .option('--all-projects', 'of all projects (administrators)')
    .option('--limit <count>', 'at most so many', count, 100)
    .addHelpText('after', examples('volumes', 'volumes list --all-projects'))
    .action(action(terminal, listVolumes))
  volumes
    .command('show')
    .description('Shows a volume and its snapshots.')
    .argument('<volume>', 'name or id')
    .addHelpText('after', examples('volumes show data'))
    .action(action(terminal, showVolume))
  waitable(volumes.command('revert'))
    .description('Reverts a volume in place to any of its snapshots. `comeback undo <operation>` takes it back.')
    .argument('<volume>', 'name or id')
    .argument('<snapshot>', 'id of a volume snapshot')
    .option('--skip-safety-snapshot', 'do not keep what it holds now: it is lost for good')
    .addHelpText('after', examples('volumes revert data 8d7e…'))
    .action(action(terminal, revert))
}

type ListOptions = { allProjects?: boolean; limit: number }
const queryOf = ({ allProjects, limit }: ListOptions) => ({ limit, ...(allProjects ? { all_projects: 'true' as const } : {}) })

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

async function listVolumes(session: Session, options: ListOptions): Promise<void> {
  const page = await session.client.call(endpoints.listVolumes, { query: queryOf(options) })
  session.print(page, ({ items }) =>
    table(
      ['id', 'name', 'size', 'state', 'busy with', 'attached to', 'snapshots'],
      items.map((one) => [
        one.id,
        one.name,
        size(one.size_bytes),
        one.state,
        one.busy_with && doing(one.busy_with.kind),
        attachment(one),
        one.snapshots,
      ]),
    ),
  )
}

const attachment = ({ attached_to }: VolumeView) => attached_to && `${attached_to.instance_name} ${attached_to.device}`

async function showVolume(session: Session, _options: object, name: string): Promise<void> {
  const volume = await findVolume(session, name)
  const { items } = await session.client.call(endpoints.listVolumeSnapshots, { query: { volume: volume.id, limit: 1000 } })
  session.print({ ...volume, volume_snapshots: items }, (one) => {
    const { id, name, state, pool, created_at } = one
    const facts = fields({
      id,
      name,
      state,
      size: size(one.size_bytes),
      'attached to': attachment(one),
      pool,
      created: when(created_at),
    })
    const rows = items.map((snapshot) => [snapshot.id, snapshot.name, snapshot.kind, snapshot.state, when(snapshot.created_at)])
    return items.length === 0 ? facts : `${facts}\n\n${table(['snapshot', 'name', 'kind', 'state', 'taken'], rows)}`
  })
}

type Revert = Waiting & { skipSafetySnapshot?: boolean }

async function revert(session: Session, { wait, skipSafetySnapshot }: Revert, name: string, snapshot: string): Promise<void> {
  const volume = await findVolume(session, name)
  await session.confirm(
    `Volume ${name} will be reverted. What it holds now is ${skipSafetySnapshot ? 'LOST FOR GOOD' : 'kept as a safety snapshot'}.`,
  )
  const { operation } = await session.client.call(endpoints.revertVolume, {
    params: { volume: volume.id },
    body: { snapshot, skip_safety_snapshot: skipSafetySnapshot === true },
  })
  const reverted = wait ? mustBeDone(await awaitEnd(session, operation)) : operation
  session.print(reverted, ({ id }) => `${wait ? 'Reverted' : 'Accepted'}. To take it back: comeback undo ${id}`)
}
