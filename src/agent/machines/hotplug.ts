/** Disks that come and go, or grow, while the machine runs. */

import type { Bytes } from '../../domain/ids.ts'
import { refuse } from '../../domain/refusals.ts'
import { failpoint } from '../../failpoints.ts'
import type { MachineDisk } from '../../ports/host-agent.ts'
import { QmpRefused } from '../qmp/errors.ts'
import { chainNodes, diskDevice, headOf, placeOf, portCount } from './command-line.ts'
import type { LiveMachine } from './live.ts'
import type { Machine } from './machine.ts'
import { nodeOf } from './names.ts'

/** A guest that runs lets go of a disk in 0.1 s, one that is booting after some seconds, one that hangs never. */
const unplugMs = 10_000

export async function attachDisk(machine: Machine, disk: MachineDisk): Promise<void> {
  const live = machine.requireLive()
  const { spec } = machine.record
  const same = spec.disks.find(({ device }) => device === disk.device)
  if (same !== undefined) {
    if (same.volume === disk.volume && headOf(same) === headOf(disk)) return
    throw refuse.inUse({ what: 'Device', id: disk.device, by: `volume ${same.volume}` })
  }
  if (placeOf(disk.device) >= portCount(spec.disks))
    throw refuse.hostFailure({
      what: `the running machine has no place left for ${disk.device}; stop it, attach, and start it`,
    })
  machine.pool(disk)
  await failpoint('agent.attach.before-add')
  try {
    for (const node of chainNodes(disk, machine.paths, new Set(await live.layers())))
      await live.control.execute('blockdev-add', node)
    await failpoint('agent.attach.after-node')
    await live.control.execute('device_add', diskDevice(disk, headOf(disk)))
    await failpoint('agent.attach.after-device')
  } catch (error) {
    if (!live.control.isClosed) await dropUnused(machine, live, disk)
    throw error
  }
  const disks = [...spec.disks, { ...disk, chain: [...disk.chain] }].sort((a, b) => placeOf(a.device) - placeOf(b.device))
  await machine.save({ spec: { ...spec, disks } })
}

/** Resolves when the guest has let go of the disk and QEMU of its layers. */
export async function detachDisk(machine: Machine, device: string): Promise<void> {
  const live = machine.requireLive()
  const { spec } = machine.record
  const disk = spec.disks.find((one) => one.device === device)
  if (disk === undefined) return
  if ((await live.headOf(device)) !== null) await unplug(live, device)
  await failpoint('agent.detach.after-device')
  await machine.save({ spec: { ...spec, disks: spec.disks.filter((one) => one.device !== device) } })
  await dropUnused(machine, live, disk)
}

export async function resizeDisk(machine: Machine, device: string, size: Bytes): Promise<void> {
  const live = machine.requireLive()
  const disk = machine.requireDisk(device)
  if (disk.sizeBytes > size) throw refuse.malformed({ why: `Disk ${device} cannot become smaller.` })
  await live.control.execute('block_resize', { 'node-name': nodeOf(headOf(disk)), size })
  await failpoint('agent.resize.after-resize')
  const { spec } = machine.record
  await machine.save({ spec: { ...spec, disks: spec.disks.map((one) => (one === disk ? { ...one, sizeBytes: size } : one)) } })
}

/** A guest that was asked before and did not answer may have let go since; asking again while it thinks is refused, and harmless. */
async function unplug(live: LiveMachine, device: string): Promise<void> {
  const unplugged = live.events
    .nextEvent(({ event, data }) => event === 'DEVICE_DELETED' && data['device'] === device, { deadlineMs: unplugMs })
    .catch(() => undefined)
  await live.control.execute('device_del', { id: device }).catch((error: unknown) => {
    if (!(error instanceof QmpRefused)) throw error
  })
  await failpoint('agent.detach.after-request')
  await unplugged
  if ((await live.headOf(device)) !== null)
    throw refuse.hostFailure({
      what: `the guest did not let go of ${device}. It may be in use or still booting: unmount it and retry, or stop the machine`,
    })
}

/** Layers that another disk of the machine shares stay open. */
async function dropUnused(machine: Machine, live: LiveMachine, disk: MachineDisk): Promise<void> {
  const used = new Set(machine.record.spec.disks.flatMap(({ chain }) => chain))
  await live.dropNodes(disk.chain.filter((layer) => !used.has(layer)))
}
