/** Lets machines go on that a full pool holds, once there is room again; not at the first free byte, or they would stop at the next. */
import { statfs } from 'node:fs/promises'
import type { Machine } from './machine.ts'

export async function resumeIfRoom(machine: Machine): Promise<void> {
  const { live, environment } = machine
  // One that is held for a snapshot or a merge too is looked at again when that lets it go.
  if (live === null || machine.heldBy !== 'space' || machine.record.pausedBy !== null) return
  const pools = new Set(machine.record.spec.disks.map(({ pool }) => pool))
  for (const pool of pools) {
    const { bavail, bsize, blocks } = await statfs(machine.pool({ pool }).directory)
    // A pool smaller than the threshold asks for a tenth of itself.
    if (bavail * bsize < Math.min(environment.resumeFreeBytes, (blocks * bsize) / 10)) return
  }
  machine.log.info('there is room again')
  await live.control.execute('cont')
}
