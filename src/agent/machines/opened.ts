/** Frozen layers that a merge was allowed to write. */
import type { Machine } from './machine.ts'

/** The merge is over, one way or the other: freezes them again, unless they are heads now. */
export async function closeOpened(machine: Machine): Promise<void> {
  const { opened, merging, spec } = machine.record
  if (opened.length === 0 && merging === null) return
  for (const { pool, layer } of opened) {
    if (spec.disks.some(({ chain }) => chain.at(-1) === layer)) continue
    const { freeze } = machine.pool({ pool })
    await freeze(layer).catch((error: unknown) => machine.log.warn({ err: error, layer }, 'layer not frozen again'))
  }
  await machine.save({ opened: [], merging: null })
}
