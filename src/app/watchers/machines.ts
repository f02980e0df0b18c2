/**
 * Makes the rows of instances agree with the machines on their hosts, and brings back what died unasked.
 *
 * A guest that shut itself down is stopped. A machine that was wanted and whose process is gone - the host rebooted, or QEMU was
 * killed - is started again, a few times in a while; after that it is in error and its owner decides. Instances that an
 * operation holds are left to it.
 */
import type { HostId, InstanceId, RequestId } from '../../domain/ids.ts'
import type { Origin } from '../../domain/operation.ts'
import { Refusal } from '../../domain/refusals.ts'
import type { HostAgent, MachineView } from '../../ports/host-agent.ts'
import type { Operations } from '../../ports/operations.ts'
import type { Db } from '../../ports/tables.ts'
import { setInstanceState } from '../../sagas/parts/instance-state.ts'
import { leaveClean, lockVolumesOf } from '../../sagas/parts/left-clean.ts'
import { exclusive } from '../locks.ts'
import type { Watcher } from './loop.ts'

export type MachinesNeeds = {
  readonly db: Db
  readonly operations: Operations
  readonly hosts: (host: HostId) => Pick<HostAgent, 'machines'>
}

/** More restarts than this in the window, and something is wrong that restarting does not cure. Counted anew when we start. */
const bornAt = Date.now()
const restartsAllowed = 3
const restartWindowMinutes = 10

export const systemOrigin = (): Origin => ({
  requestId: `req-${crypto.randomUUID()}` as RequestId,
  userId: null,
  projectId: null,
})

export const machinesWatcher = (needs: MachinesNeeds, everyMs: number): Watcher => ({
  name: 'machines',
  everyMs,
  look: async () => {
    const hosts = await needs.db.selectFrom('hosts').select('id').execute()
    for (const { id } of hosts) await reconcileHost(needs, id)
  },
})

export async function reconcileHost(needs: MachinesNeeds, host: HostId): Promise<void> {
  const views = new Map((await needs.hosts(host).machines()).map((view) => [view.instance, view]))
  const rows = await needs.db
    .selectFrom('instances')
    .select(['id', 'state', 'paused_because'])
    .where('host_id', '=', host)
    .where('deleted_at', 'is', null)
    .execute()
  const busy = await needs.operations.holders(rows.map(({ id }) => `instance:${id}`))
  for (const row of rows) {
    if (!busy.has(`instance:${row.id}`)) await reconcile(needs, row, views.get(row.id))
  }
}

type Row = { readonly id: InstanceId; readonly state: string; readonly paused_because: string | null }

async function reconcile(needs: MachinesNeeds, row: Row, view: MachineView | undefined): Promise<void> {
  const { db } = needs
  if (view?.state === 'unknown') return // neither dead nor to be started beside itself
  if (view && view.state !== 'off') {
    const because = view.state === 'paused' ? (view.pausedBecause ?? 'other') : null
    if (because !== row.paused_because)
      await db.updateTable('instances').set({ paused_because: because }).where('id', '=', row.id).execute()
    if (row.state === 'stopped' || row.state === 'error') await setInstanceState(db, row.id, 'running')
    return
  }
  if (row.state !== 'running') return
  if (view && !view.wanted) return await hasStopped(db, row.id, view.shutDown)
  await bringBack(needs, row.id)
}

/** Unless an operation has taken it since: what that would write is held until this is written. */
async function hasStopped(db: Db, instance: InstanceId, isClean: boolean): Promise<void> {
  await db.transaction().execute(async (tx) => {
    await tx.selectFrom('instances').select('id').where('id', '=', instance).forUpdate().execute()
    await lockVolumesOf(tx, instance)
    const holder = await tx
      .selectFrom('locks')
      .select('operation_id')
      .where('resource', '=', `instance:${instance}`)
      .executeTakeFirst()
    if (holder) return
    await setInstanceState(tx, instance, 'stopped')
    if (isClean) await leaveClean(tx, instance)
  })
}

async function bringBack(needs: MachinesNeeds, instance: InstanceId): Promise<void> {
  const { db, operations } = needs
  const since = new Date(Math.max(bornAt, Date.now() - restartWindowMinutes * 60_000))
  const recent = await db
    .selectFrom('operations')
    .select('id')
    .where('instance_id', '=', instance)
    .where('kind', '=', 'start-instance')
    .where('user_id', 'is', null)
    .where('created_at', '>', since)
    .execute()
  if (recent.length >= restartsAllowed) {
    const message = `Its machine died ${restartsAllowed} times within ${restartWindowMinutes} minutes and is not started again by itself. Look at its console, then start it.`
    return setInstanceState(db, instance, 'error', message)
  }
  await operations
    .begin({
      kind: 'start-instance',
      origin: systemOrigin(),
      plan: async (tx, take) => {
        await take(exclusive('instance', instance))
        const row = await tx.selectFrom('instances').select(['state', 'host_id']).where('id', '=', instance).executeTakeFirst()
        if (row?.state !== 'running' || !row.host_id)
          throw new Refusal('nothingToDo', 'conflict', 'It is not meant to run any more.')
        const disks = await tx.selectFrom('attachments').select('volume_id').where('instance_id', '=', instance).execute()
        await take(exclusive('volume', ...disks.map(({ volume_id }) => volume_id)))
        return { params: { instance, host: row.host_id }, instance }
      },
    })
    .catch((error: unknown) => {
      if (!(error instanceof Refusal)) throw error
    })
}
