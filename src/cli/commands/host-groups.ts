import { endpoints } from '../../../contract/index.ts'
import type { HostGroupView } from '../../../contract/vaults.ts'
import { type Adder, action, examples } from '../command.ts'
import { findHost, findHostGroup, findVault } from '../find.ts'
import { clean, table } from '../output.ts'
import type { Session } from '../session.ts'

export const hostGroupCommands: Adder = (program, terminal) => {
  const groups = program.command('host-groups').description('Groups of hosts that share a vault (administrators).')
  groups
    .command('list', { isDefault: true })
    .description('Lists host groups, their vaults and their hosts.')
    .addHelpText('after', examples('host-groups', 'host-groups -o json'))
    .action(action(terminal, list))
  groups
    .command('create')
    .description('Makes a host group.')
    .argument('<group>', 'its name')
    .option('--vault <vault>', 'name or id; left out: the default vault')
    .addHelpText('after', examples('host-groups create rack-1 --vault main'))
    .action(action(terminal, create))
  groups
    .command('change')
    .description('Renames a host group, or gives it another vault. Backups that are there stay where they are.')
    .argument('<group>', 'name or id')
    .option('--name <name>', 'what to call it')
    .option('--vault <vault>', 'name or id; `none`: the default vault')
    .addHelpText('after', examples('host-groups change rack-1 --vault off-site', 'host-groups change rack-1 --vault none'))
    .action(action(terminal, change))
  groups
    .command('assign')
    .description('Puts a host into a group, or into none.')
    .argument('<host>', 'name or id')
    .argument('<group>', 'name or id, or `none`')
    .addHelpText('after', examples('host-groups assign host-1 rack-1', 'host-groups assign host-1 none'))
    .action(action(terminal, assign))
  groups
    .command('delete')
    .description('Deletes a host group.')
    .argument('<group>', 'name or id')
    .addHelpText('after', examples('host-groups delete rack-1'))
    .action(action(terminal, remove))
}

const draw = (groups: readonly HostGroupView[]) =>
  table(
    ['id', 'name', 'vault', 'hosts'],
    groups.map((one) => [one.id, one.name, one.vault?.name ?? 'the default', one.hosts.join(' ') || null]),
  )

async function list(session: Session): Promise<void> {
  session.print(await session.client.call(endpoints.listHostGroups, {}), ({ items }) => draw(items))
}

const vaultOf = async (session: Session, name: string) => (name === 'none' ? null : (await findVault(session, name)).id)

type Options = { vault?: string; name?: string }

async function create(session: Session, { vault }: Options, name: string): Promise<void> {
  const body = { name, vault: vault === undefined ? null : await vaultOf(session, vault) }
  session.print(await session.client.call(endpoints.createHostGroup, { body }), (made) => draw([made]))
}

async function change(session: Session, { vault, name }: Options, text: string): Promise<void> {
  const { id: group } = await findHostGroup(session, text)
  const body = {
    ...(name === undefined ? {} : { name }),
    ...(vault === undefined ? {} : { vault: await vaultOf(session, vault) }),
  }
  session.print(await session.client.call(endpoints.changeHostGroup, { params: { group }, body }), (changed) => draw([changed]))
}

async function assign(session: Session, _options: object, host: string, text: string): Promise<void> {
  const { id, name } = await findHost(session, host)
  const group = text === 'none' ? null : await findHostGroup(session, text)
  await session.client.call(endpoints.changeHost, { params: { host: id }, body: { group: group?.id ?? null } })
  session.print(
    { host: id, group: group?.id ?? null },
    () => `Host ${clean(name)} is in ${group ? `group ${clean(group.name)}` : 'no group'}.`,
  )
}

async function remove(session: Session, _options: object, text: string): Promise<void> {
  const group = await findHostGroup(session, text)
  await session.confirm(`Host group ${clean(group.name)} will be deleted; its hosts use the default vault then.`)
  await session.client.call(endpoints.deleteHostGroup, { params: { group: group.id } })
  session.print({ deleted: group.id }, () => `Deleted: ${clean(group.name)}`)
}
