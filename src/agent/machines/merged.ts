/** The end of a merge on the storage: the layer that goes is gone there before anything may take it for what it was. */
import type { LayerId } from '../../domain/ids.ts'
import type { Merge } from '../../ports/storage-driver.ts'
import type { Machine } from './machine.ts'

export const goneAfter = ({ direction, lower, upper }: Merge): LayerId => (direction === 'pull' ? lower : upper)

/** Ends the merge that the record says was under way, if it has happened: the layer that goes is not in the chain any more. */
export async function settleMerge(machine: Machine): Promise<void> {
  const { merging, spec } = machine.record
  if (merging === null) return
  const disk = spec.disks.find(({ device }) => device === merging.device)
  if (disk === undefined || disk.chain.includes(goneAfter(merging.merge))) return
  await machine.pool(merging).finishMerge(merging.merge)
}
