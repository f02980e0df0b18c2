import { endpoints } from '../../../contract/index.ts'
import type { VolumeView } from '../../../contract/volumes.ts'
import type { Consistency } from '../../domain/volume.ts'
import { type Adder, action, count, examples, type Waiting, waitable } from '../command.ts'
import { achievedBy, consistencyOption, whyLess } from '../consistency.ts'
import { findPlan, findVolume, findVolumeSnapshot } from '../find.ts'
import { clean, doing, duration, fields, size, table, when } from '../output.ts'
import { awaitEnd, mustBeDone } from '../progress.ts'
import type { Session } from '../session.ts'
import { addVolumeBackup } from './back-up.ts'
import { type ListOptions, queryOf } from './inventory.ts'

export const volumeCommands: Adder = (program, terminal) => {
  const volumes = program.command('volumes').description('Lists, shows, snapshots, backs up and restores volumes.')
  volumes
    .command('list', { isDefault: true })
    .description('Lists volumes.')
    .option('--all-projects', 'of all projects (administrators)')
    .option('--limit <count>', 'at most so many', count, 100)
    .addHelpText('after', examples('volumes', 'volumes list --all-projects'))
    .action(action(terminal, list))
  volumes
    .command('show')
    .description('Shows a volume and its snapshots.')
    .argument('<volume>', 'name or id')
    .addHelpText('after', examples('volumes show data'))
    .action(action(terminal, show))
  waitable(volumes.command('snapshot'))
    .description('Takes a snapshot of one volume, attached or not.')
    .argument('<volume>', 'name or id')
    .argument('[name]', 'name of the snapshot; left out: the time')
    .addOption(consistencyOption('crash'))
    .addHelpText('after', examples('volumes snapshot data', 'volumes snapshot data before-upgrade --consistency application'))
    .action(action(terminal, snapshot))
  addVolumeBackup(volumes, terminal)
  waitable(volumes.command('restore'))
    .description('Restores a volume in place to any of its snapshots. `comeback undo <operation>` takes it back.')
    .argument('<volume>', 'name or id')
    .argument('<snapshot>', 'name or id of one of its snapshots')
    .option('--skip-safety-snapshot', 'do not keep what it holds now: it is lost for good')
    .addHelpText('after', examples('volumes restore data before-upgrade'))
    .action(action(terminal, restore))
  waitable(volumes.command('restore-new'))
    .description('Makes a new volume from a snapshot. The volume it was taken of is untouched.')
    .argument('<volume>', 'name or id of the volume that the snapshot is of')
    .argument('<snapshot>', 'name or id of one of its snapshots')
    .option('--name <name>', 'of the new volume; left out: that of the volume')
    .option('--plan <plan>', 'name or id of its plan; left out: that of the volume')
    .addHelpText('after', examples('volumes restore-new data before-upgrade --name data-then'))
    .action(action(terminal, restoreNew))
  waitable(volumes.command('delete-snapshot'))
    .description('Deletes a snapshot of a volume. Other snapshots, and the volume, stay as they are.')
    .argument('<volume>', 'name or id')
    .argument('<snapshot>', 'name or id of one of its snapshots')
    .addHelpText('after', examples('volumes delete-snapshot data before-upgrade'))
    .action(action(terminal, deleteSnapshot))
  volumes
    .command('set-plan')
    .description('Puts a volume into another plan (administrators).')
    .argument('<volume>', 'name or id')
    .argument('<plan>', 'name or id, or `none`')
    .addHelpText('after', examples('volumes set-plan data gold', 'volumes set-plan data none'))
    .action(action(terminal, setPlan))
}

async function list(session: Session, options: ListOptions): Promise<void> {
  const page = await session.client.call(endpoints.listVolumes, { query: queryOf(options) })
  session.print(page, ({ items }) =>
    table(
      ['id', 'name', 'size', 'state', 'busy with', 'attached to', 'snapshots', 'backups'],
      items.map((one) => [
        one.id,
        one.name,
        size(one.size_bytes),
        one.state,
        busy(one),
        attachment(one),
        one.snapshots,
        one.backups,
      ]),
    ),
  )
}

const busy = ({ active_operation, busy_with }: VolumeView) => active_operation ?? (busy_with && doing(busy_with.kind))
const attachment = ({ attached_to }: VolumeView) => attached_to && `${attached_to.instance_name} ${attached_to.device}`

async function show(session: Session, _options: object, name: string): Promise<void> {
  const volume = await findVolume(session, name)
  const { items } = await session.client.call(endpoints.listVolumeSnapshots, { query: { volume: volume.id, limit: 1000 } })
  const { items: plans } = await session.client.call(endpoints.listPlans, {})
  session.print({ ...volume, volume_snapshots: items }, (one) => {
    const { id, name, state, pool, created_at } = one
    const facts = fields({
      id,
      name,
      state,
      size: size(one.size_bytes),
      'busy with': busy(one),
      cooldown: one.cooldown_seconds === 0 ? null : duration(one.cooldown_seconds),
      plan: plans.find((plan) => plan.id === one.plan)?.name,
      'attached to': attachment(one),
      pool,
      backups: one.backups,
      created: when(created_at),
    })
    if (items.length === 0) return facts
    const rows = items.map((taken) => [
      taken.id,
      taken.name,
      taken.kind,
      taken.state,
      taken.consistency,
      when(taken.created_at),
    ])
    const head = ['snapshot', 'name', 'kind', 'state', 'consistency', 'taken']
    return `${facts}\n\n${table(head, rows)}${whyLess(items)}`
  })
}

type Snapshot = Waiting & { readonly consistency: Consistency }

async function snapshot(session: Session, { wait, consistency }: Snapshot, volumeName: string, name?: string): Promise<void> {
  const { id: volume } = await findVolume(session, volumeName)
  const begun = await session.client.call(endpoints.takeVolumeSnapshot, {
    body: { volume, consistency, ...(name ? { name } : {}) },
  })
  const operation = wait ? mustBeDone(await awaitEnd(session, begun.operation)) : begun.operation
  session.print({ snapshot: begun.snapshot, operation }, () =>
    wait ? `Taken: ${begun.snapshot}${achievedBy(operation)}` : `Accepted: ${begun.snapshot}`,
  )
}

type Restore = Waiting & { skipSafetySnapshot?: boolean }

async function restore(session: Session, { wait, skipSafetySnapshot }: Restore, name: string, to: string): Promise<void> {
  const volume = await findVolume(session, name)
  const { id: snapshot } = await findVolumeSnapshot(session, volume, to)
  await session.confirm(
    `Volume ${name} will be restored. What it holds now is ${skipSafetySnapshot ? 'LOST FOR GOOD' : 'kept as a safety snapshot'}.`,
    volume.name,
  )
  const { operation } = await session.client.call(endpoints.restoreVolume, {
    params: { volume: volume.id },
    body: { snapshot, confirm: volume.name, skip_safety_snapshot: skipSafetySnapshot === true },
  })
  const restored = wait ? mustBeDone(await awaitEnd(session, operation)) : operation
  session.print(restored, ({ id }) => `${wait ? 'Restored' : 'Accepted'}. To take it back: comeback undo ${id}`)
}

type RestoreNew = Waiting & { name?: string; plan?: string }

async function restoreNew(session: Session, { wait, name, plan }: RestoreNew, from: string, to: string): Promise<void> {
  const { id: snapshot } = await findVolumeSnapshot(session, await findVolume(session, from), to)
  const begun = await session.client.call(endpoints.createVolume, {
    body: {
      source: { snapshot },
      ...(name === undefined ? {} : { name }),
      ...(plan === undefined ? {} : { plan: (await findPlan(session, plan)).id }),
    },
  })
  const operation = wait ? mustBeDone(await awaitEnd(session, begun.operation)) : begun.operation
  session.print({ volume: begun.volume, operation }, () => `${wait ? 'Made' : 'Accepted'}: ${begun.volume}`)
}

async function deleteSnapshot(session: Session, { wait }: Waiting, name: string, which: string): Promise<void> {
  const found = await findVolumeSnapshot(session, await findVolume(session, name), which)
  await session.confirm(`Snapshot ${clean(found.name)} (${found.id}) will be deleted.`, found.name)
  const begun = await session.client.call(endpoints.deleteVolumeSnapshot, {
    params: { snapshot: found.id },
    query: { confirm: found.name },
  })
  const operation = wait ? mustBeDone(await awaitEnd(session, begun.operation)) : begun.operation
  session.print(operation, () => `${wait ? 'Deleted' : 'Accepted'}: ${clean(found.name)}`)
}

async function setPlan(session: Session, _options: object, name: string, plan: string): Promise<void> {
  const { id: volume } = await findVolume(session, name)
  const into = plan === 'none' ? null : (await findPlan(session, plan)).id
  const changed = await session.client.call(endpoints.changeVolume, { params: { volume }, body: { plan: into } })
  session.print(changed, () => `Volume ${clean(name)} is ${into === null ? 'in no plan' : `in plan ${clean(plan)}`}.`)
}
