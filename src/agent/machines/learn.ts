/** What QEMU itself says of a machine's disks, taken over into its record: after another agent's end, or a merge's. */
import type { LiveMachine } from './live.ts'
import type { Machine } from './machine.ts'
import { goneAfter } from './merged.ts'

/** Whether a merge happened is seen from the layer that should be gone: a node that something stands on cannot be let go of. */
export async function learnMerge(machine: Machine, live: LiveMachine): Promise<void> {
  const { merging } = machine.record
  if (merging === null) return
  const gone = goneAfter(merging.merge)
  await live.dropNodes([gone])
  const disk = machine.requireDisk(merging.device)
  if ((await live.layers()).includes(gone) || disk.chain.at(-1) === gone) return // a head is learnt from its device
  await machine.saveChain(
    merging.device,
    disk.chain.filter((layer) => layer !== gone),
  )
}

/** The devices know whether a pivot or a merge happened; the record is set right after them. */
export async function learnHeads(machine: Machine, live: LiveMachine): Promise<void> {
  const { spec, pivoting } = machine.record
  const heads = await machine.heads(live)
  const disks = spec.disks.map((disk) => {
    const head = heads[disk.device]
    if (head === undefined || head === disk.chain.at(-1)) return disk
    const at = disk.chain.indexOf(head)
    if (at >= 0) return { ...disk, chain: disk.chain.slice(0, at + 1) }
    return pivoting.some(({ device, to }) => device === disk.device && to === head)
      ? { ...disk, chain: [...disk.chain, head] }
      : disk
  })
  const merged = spec.disks.flatMap(({ device, chain }) => {
    const now = heads[device]
    const was = chain.at(-1)
    return now !== undefined && was !== undefined && chain.includes(now) && was !== now ? [{ layer: was, now }] : []
  })
  await machine.save({ spec: { ...spec, disks }, pivoting: [], stale: [...machine.record.stale, ...merged] })
}
