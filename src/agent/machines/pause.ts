/** Holding a machine's processors for a moment, so that nothing is written. Durable as an intention: a new agent lets it go on. */
import type { OperationId } from '../../domain/ids.ts'
import { failpoint } from '../../failpoints.ts'
import type { Machine } from './machine.ts'

export async function pauseMachine(machine: Machine, operation: OperationId): Promise<void> {
  const live = machine.requireLive()
  await machine.save({ pausedBy: operation })
  await failpoint('agent.pause.after-record')
  await live.control.execute('stop')
  await failpoint('agent.pause.after-stop')
}

/** A machine that ended meanwhile needs no resuming; one that QEMU itself holds goes on only when its trouble is over. */
export async function resumeMachine(machine: Machine): Promise<void> {
  const { live, record, heldBy } = machine
  if (live !== null && heldBy === null && (await live.status()) === 'paused') await live.control.execute('cont')
  await failpoint('agent.resume.after-cont')
  if (record.pausedBy !== null) await machine.save({ pausedBy: null })
}
