import { endpoints } from '../../../contract/index.ts'
import type { OperationView } from '../../../contract/operations.ts'
import type { TreeNode } from '../../../contract/snapshots.ts'
import type { Consistency } from '../../domain/volume.ts'
import { type Adder, action, examples, several, type Waiting, waitable } from '../command.ts'
import { achievedBy, consistencyOption } from '../consistency.ts'
import { findInstance, findNode } from '../find.ts'
import { clean } from '../output.ts'
import { awaitEnd, mustBeDone } from '../progress.ts'
import type { Session } from '../session.ts'
import { drawTree } from '../tree.ts'

export const snapshotCommands: Adder = (program, terminal) => {
  program
    .command('snapshots')
    .summary('show the snapshots of an instance as a tree')
    .description('Shows the snapshots of an instance as a tree, and where its disks stand in it.')
    .argument('<instance>', 'name or id')
    .addHelpText('after', examples('snapshots web', 'snapshots web -o json'))
    .action(action(terminal, showTree))

  const snapshot = program.command('snapshot').description('Takes and deletes snapshots.')
  waitable(snapshot.command('create'))
    .summary('take a snapshot of all, or chosen, disks at one moment')
    .description('Takes a snapshot of all, or chosen, disks of an instance at one moment. It keeps running.')
    .argument('<instance>', 'name or id')
    .argument('<name>', 'name of the snapshot')
    .option('--disk <device>', 'only this disk, by device or volume id; may be repeated', several)
    .addOption(consistencyOption('filesystem'))
    .addHelpText('after', examples('snapshot create web before-upgrade', 'snapshot create web data-only --disk vdb'))
    .action(action(terminal, create))

  waitable(snapshot.command('delete'))
    .summary('delete a snapshot')
    .description('Deletes a snapshot of any kind. Other snapshots, and the disks, stay as they are.')
    .argument('<instance>', 'name or id')
    .argument('<snapshot>', 'name or id, as `comeback snapshots` shows them')
    .addHelpText('after', examples('snapshot delete web before-upgrade', 'snapshot delete web 8d7e… --yes'))
    .action(action(terminal, remove))
}

async function treeFor(session: Session, name: string) {
  const { id } = await findInstance(session, name)
  return await session.client.call(endpoints.showSnapshotTree, { params: { instance: id } })
}

async function showTree(session: Session, _options: object, instance: string): Promise<void> {
  session.print(await treeFor(session, instance), drawTree)
}

type Create = Waiting & { readonly disk?: string[]; readonly consistency: Consistency }

async function create(session: Session, { disk, consistency, wait }: Create, instance: string, name: string): Promise<void> {
  const { id } = await findInstance(session, instance)
  const { operation, snapshot } = await session.client.call(endpoints.takeInstanceSnapshot, {
    params: { instance: id },
    body: { name, consistency, ...(disk ? { disks: disk } : {}) },
  })
  const taken = wait ? mustBeDone(await awaitEnd(session, operation)) : operation
  session.print({ snapshot, operation: taken }, () =>
    wait ? `Taken: ${snapshot}${achievedBy(taken)}` : `Accepted: ${snapshot} (operation ${taken.id})`,
  )
}

async function remove(session: Session, { wait }: Waiting, instance: string, snapshot: string): Promise<void> {
  const node = findNode(await treeFor(session, instance), snapshot)
  await session.confirm(`Snapshot ${clean(node.name)} (${node.key}) will be deleted.`)
  const operations = []
  for (const begin of removals(session, node)) {
    const operation = await begin()
    operations.push(wait ? mustBeDone(await awaitEnd(session, operation)) : operation)
  }
  session.print({ operations }, () => `${wait ? 'Deleted' : 'Accepted'}: ${clean(node.name)}`)
}

/** An instance snapshot goes as a whole; a safety snapshot is one volume snapshot a disk. */
function removals({ client }: Session, { to }: TreeNode): (() => Promise<OperationView>)[] {
  if ('instance_snapshot' in to) {
    const params = { snapshot: to.instance_snapshot }
    return [async () => (await client.call(endpoints.deleteInstanceSnapshot, { params })).operation]
  }
  return to.snapshots.map((snapshot) => async () => {
    const { name } = await client.call(endpoints.showVolumeSnapshot, { params: { snapshot } })
    const { operation } = await client.call(endpoints.deleteVolumeSnapshot, { params: { snapshot }, query: { confirm: name } })
    return operation
  })
}
