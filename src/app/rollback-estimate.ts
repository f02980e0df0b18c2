/** How long the guest will be off, judged by what its last rollbacks took. */
import type { InstanceId } from '../domain/ids.ts'
import type { Db } from '../ports/tables.ts'
import type { RollbackRequest } from './commands.ts'

/** Seen on a small machine without history: a hard stop and a start of QEMU; a guest's own shutdown. */
const hardSeconds = 0.3
const gracefulSeconds = 3

export async function estimateDowntime(
  db: Db,
  instance: { readonly id: InstanceId; readonly state: string } | null,
  request: RollbackRequest,
): Promise<number> {
  if (instance?.state !== 'running') return 0
  const rows = await db
    .selectFrom('operations')
    .select('result')
    .where('instance_id', '=', instance.id)
    .where('kind', '=', 'replace-heads')
    .where('state', '=', 'done')
    .orderBy('created_at', 'desc')
    .limit(5)
    .execute()
  const seen = rows.flatMap(({ result }) => offSeconds(result)).sort((a, b) => a - b)
  const median = seen[Math.floor(seen.length / 2)]
  return (
    median ?? (request.stop.mode === 'hard' ? hardSeconds : Math.min(gracefulSeconds, request.stop.graceSeconds) + hardSeconds)
  )
}

function offSeconds(result: object | null): number[] {
  const phases = result && 'phases' in result ? (result.phases as Record<string, number>) : null
  if (!phases) return []
  const { stop = 0, safety = 0, start = 0 } = phases
  return [Math.round((stop + safety + start) * 1000) / 1000]
}
