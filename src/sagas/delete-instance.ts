/**
 * Deletes an instance. Its points stay: a volume with snapshots that should have gone with it stays too, detached, and serves
 * restores. Nothing is freed before the machine is proved off.
 *
 *   stopMachine     hard                        not taken back: it was to be deleted; its disks are untouched
 *   removeRows      (commit) attachments and ports go, volumes that should go are deleted
 *   forgetMachine   console, sockets and records on the host
 */
import type { HostId, InstanceId } from '../domain/ids.ts'
import type { Tx } from '../ports/tables.ts'
import { noUndo, saga } from './parts/define.ts'
import { deleteVolumeRows, namedSnapshots } from './parts/delete-rows.ts'
import { setInstanceState } from './parts/instance-state.ts'

export type DeleteInstanceParams = { readonly instance: InstanceId; readonly host: HostId | null }

export const deleteInstance = saga<DeleteInstanceParams>('delete-instance')
  .step('stopMachine', {
    do: async ({ params, world }) => {
      if (params.host) await world.hosts(params.host).stopMachine(params.instance, { mode: 'hard', graceSeconds: 0 })
    },
    undo: noUndo('its owner asked for its end; the disks are as they were, and it can be started or deleted again'),
  })
  .commit('removeRows', ({ params }, tx) => removeRows(tx, params.instance))
  .finish('forgetMachine', async ({ params, world }) => {
    if (params.host) await world.hosts(params.host).forgetMachine(params.instance)
  })
  .afterUndo(({ params }, tx) =>
    setInstanceState(tx, params.instance, 'error', 'It could not be stopped, so it was not deleted. Try again.'),
  )
  .build()

async function removeRows(tx: Tx, instance: InstanceId): Promise<void> {
  const disks = await tx
    .deleteFrom('attachments')
    .where('instance_id', '=', instance)
    .returning(['volume_id', 'delete_on_termination'])
    .execute()
  for (const { volume_id, delete_on_termination } of disks) {
    if (!delete_on_termination || (await namedSnapshots(tx, volume_id)).length > 0) continue
    await deleteVolumeRows(tx, volume_id)
  }
  await tx.deleteFrom('ports').where('instance_id', '=', instance).execute()
  const now = new Date()
  await tx
    .updateTable('instances')
    .set({ state: 'deleted', host_id: null, terminated_at: now, deleted_at: now, updated_at: now })
    .where('id', '=', instance)
    .execute()
}
