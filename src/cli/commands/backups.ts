import { Option } from 'commander'
import type { BackupView } from '../../../contract/backups.ts'
import { endpoints } from '../../../contract/index.ts'
import { type Adder, action, bytes, count, examples, type Waiting, waitable } from '../command.ts'
import { consistencyOf } from '../consistency.ts'
import { failed, usage } from '../exit.ts'
import { findBackup, findPlan, findPool, findVolume, isId } from '../find.ts'
import { clean, fields, size, table, when } from '../output.ts'
import { awaitEnd, mustBeDone } from '../progress.ts'
import type { Session } from '../session.ts'
import { type ListOptions, queryOf } from './inventory.ts'

export const backupCommands: Adder = (program, terminal) => {
  const backups = program
    .command('backups')
    .description('Lists, shows, restores and deletes backups. `volumes backup` makes them.')
  backups
    .command('list', { isDefault: true })
    .description('Lists backups, latest first.')
    .option('--volume <volume>', 'only of this volume, by name or id; the id of one that is gone will do')
    .option('--all-projects', 'of all projects (administrators)')
    .option('--limit <count>', 'at most so many', count, 100)
    .addHelpText('after', examples('backups', 'backups list --volume data', 'backups --all-projects -o json'))
    .action(action(terminal, list))
  backups
    .command('show')
    .description('Shows a backup: what was read and stored for it, how consistent it is, when it was last proved.')
    .argument('<backup>', 'name or id')
    .addHelpText('after', examples('backups show nightly'))
    .action(action(terminal, show))
  waitable(backups.command('restore'))
    .summary('restore in place, or to a new volume')
    .description(
      'Restores a backup. Without --new it goes to its own volume (or the one of --to) in place: that must not be attached to a\n' +
        'running instance, and what it holds now is kept as a safety snapshot. With --new a volume of its own is made.',
    )
    .argument('<backup>', 'name or id')
    .option('--new [name]', 'to a new volume; without a name it is called like the volume')
    .addOption(new Option('--to <volume>', 'to this volume, in place; left out: its own').conflicts('new'))
    .option('--pool <pool>', 'with --new: in this pool, by name or id (names: administrators)')
    .option('--plan <plan>', 'with --new: in this plan, by name or id')
    .option('--size <size>', 'with --new: larger than it was, such as 20GiB', bytes)
    .addOption(new Option('--skip-safety-snapshot', 'do not keep what it holds now: it is lost for good').conflicts('new'))
    .addHelpText(
      'after',
      examples(
        'backups restore nightly',
        'backups restore nightly --new',
        'backups restore nightly --new data-then --pool fast',
      ),
    )
    .action(action(terminal, restore))
  waitable(backups.command('delete'))
    .description('Deletes a backup. Other backups stay whole.')
    .argument('<backup>', 'name or id')
    .addHelpText('after', examples('backups delete nightly', 'backups delete 8d7e… --yes'))
    .action(action(terminal, remove))
}

type List = ListOptions & { volume?: string }

async function list(session: Session, { volume, ...options }: List): Promise<void> {
  const of = volume === undefined ? {} : { volume: isId(volume) ? volume : (await findVolume(session, volume)).id }
  const page = await session.client.call(endpoints.listBackups, { query: { ...queryOf(options), ...of } })
  session.print(page, ({ items }) =>
    table(
      ['id', 'name', 'volume', 'size', 'stored', 'state', 'made', 'vault'],
      items.map((one) => [
        one.id,
        one.name,
        one.volume_name || one.volume,
        size(one.size_bytes),
        one.stored_bytes === null ? null : size(one.stored_bytes),
        one.damage === null ? one.state : `${one.state}, DAMAGED`,
        when(one.created_at),
        one.vault_name,
      ]),
    ),
  )
}

async function show(session: Session, _options: object, name: string): Promise<void> {
  session.print(await findBackup(session, name), draw)
}

const draw = (one: BackupView): string =>
  fields({
    id: one.id,
    name: one.name,
    description: one.description,
    state: one.state,
    why: one.fail_reason,
    volume: `${one.volume_name} (${one.volume}${one.volume_exists ? '' : ', gone'})`,
    instance: one.instance && `${one.instance.name} ${one.instance.device}`,
    size: size(one.size_bytes),
    read: one.read_bytes === null ? null : `${size(one.read_bytes)}, ${howRead(one)}`,
    stored: one.stored_bytes === null ? null : size(one.stored_bytes),
    consistency: consistencyOf(one),
    vault: one.vault_name,
    proved: when(one.verified_at),
    damage: one.damage,
    made: when(one.created_at),
    operation: one.operation,
  })

const howRead = ({ changes_since, read_all_because }: BackupView): string =>
  changes_since === null ? `everything: ${read_all_because ?? 'no reason is known'}` : `changes since ${changes_since}`

type Restore = Waiting & {
  new?: string | true
  to?: string
  pool?: string
  plan?: string
  size?: number
  skipSafetySnapshot?: boolean
}

async function restore(session: Session, how: Restore, name: string): Promise<void> {
  const backup = await findBackup(session, name)
  if (how.new !== undefined) return await restoreNew(session, how, backup)
  for (const option of ['pool', 'plan', 'size'] as const)
    if (how[option] !== undefined) throw usage(`--${option} is for a new volume: add --new.`)
  if (how.to === undefined && !backup.volume_exists)
    throw failed(
      'volumeGone',
      `The volume of ${clean(backup.name)} is gone. Make a new one of it: comeback backups restore ${backup.id} --new`,
    )
  const volume = await findVolume(session, how.to ?? backup.volume)
  await session.confirm(
    `Volume ${clean(volume.name)} will be restored to ${clean(backup.name)}. What it holds now is ${how.skipSafetySnapshot ? 'LOST FOR GOOD' : 'kept as a safety snapshot'}.`,
    volume.name,
  )
  const begun = await session.client.call(endpoints.restoreVolume, {
    params: { volume: volume.id },
    body: { backup: backup.id, confirm: volume.name, skip_safety_snapshot: how.skipSafetySnapshot === true },
  })
  const operation = how.wait ? mustBeDone(await awaitEnd(session, begun.operation)) : begun.operation
  session.print(
    { volume: volume.id, operation },
    () => `${how.wait ? 'Restored' : 'Accepted'}. To take it back: comeback undo ${operation.id}`,
  )
}

async function restoreNew(session: Session, how: Restore, backup: BackupView): Promise<void> {
  const source = {
    backup: backup.id,
    ...(how.size === undefined ? {} : { size_bytes: how.size }),
    ...(how.pool === undefined ? {} : { pool: await findPool(session, how.pool) }),
  }
  const begun = await session.client.call(endpoints.createVolume, {
    body: {
      source,
      ...(typeof how.new === 'string' ? { name: how.new } : {}),
      ...(how.plan === undefined ? {} : { plan: (await findPlan(session, how.plan)).id }),
    },
  })
  const operation = how.wait ? mustBeDone(await awaitEnd(session, begun.operation)) : begun.operation
  session.print({ volume: begun.volume, operation }, () => `${how.wait ? 'Made' : 'Accepted'}: ${begun.volume}`)
}

async function remove(session: Session, { wait }: Waiting, name: string): Promise<void> {
  const backup = await findBackup(session, name)
  await session.confirm(`Backup ${clean(backup.name)} (${backup.id}) will be deleted.`, backup.name)
  const begun = await session.client.call(endpoints.deleteBackup, {
    params: { backup: backup.id },
    query: { confirm: backup.name },
  })
  const operation = wait ? mustBeDone(await awaitEnd(session, begun.operation)) : begun.operation
  session.print(operation, () => `${wait ? 'Deleted' : 'Accepted'}: ${clean(backup.name)}`)
}
