import { refuse } from '../domain/refusals.ts'
import type { DiskName } from './commands.ts'

/** The disks that are meant: all, or those named by volume id or device (`vdb`, `/dev/vdb`). An unknown name is refused. */
export function chooseDisks<Disk extends { readonly volume: string; readonly device: string }>(
  disks: readonly Disk[],
  names: readonly DiskName[] | null,
): Disk[] {
  if (names === null) return [...disks]
  if (names.length === 0)
    throw refuse.malformed({ why: 'The list of disks is empty: name at least one, or leave it out for all.' })
  const chosen = names.map((name) => {
    const device = name.replace(/^\/dev\//, '')
    const disk = disks.find((one) => one.volume === name || one.device === device)
    if (!disk)
      throw refuse.malformed({
        why: `Disk ${name} is not attached to the instance. It has ${disks.map((one) => one.device).join(', ') || 'none'}.`,
      })
    return disk
  })
  return [...new Set(chosen)]
}
