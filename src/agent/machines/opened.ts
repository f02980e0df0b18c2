/** Frozen layers that a merge was allowed to write. */
import type { Machine } from './machine.ts'

/** Freezes them again, unless they are heads now. */
export async function closeOpened(machine: Machine): Promise<void> {
  const { opened, spec } = machine.record
  if (opened.length === 0) return
  for (const { pool, layer } of opened) {
    if (spec.disks.some(({ chain }) => chain.at(-1) === layer)) continue
    const { freeze } = machine.pool({ pool })
    await freeze(layer).catch((error: unknown) => machine.log.warn({ err: error, layer }, 'layer not frozen again'))
  }
  await machine.save({ opened: [] })
}
