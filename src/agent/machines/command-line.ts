/**
 * QEMU's arguments for a machine. Equal specs give equal machines: PCI addresses, serials and MACs depend on the spec alone.
 *
 * QEMU gets directories as open descriptors and names files below them (`/proc/self/fd/3/…`), so no path of the host has to be
 * reachable for its user, and no socket's path is too long.
 */
import type { LayerId, PoolId } from '../../domain/ids.ts'
import { refuse } from '../../domain/refusals.ts'
import type { MachineDisk, MachineSpec } from '../../ports/host-agent.ts'
import type { MachinesEnvironment } from './environment.ts'
import { fileNodeOf, nodeOf } from './names.ts'
import { networkArguments } from './network.ts'

const runFd = 3
const consoleFd = 4
const firstPoolFd = 5

/** What a machine keeps over years, migrations and new QEMUs. microvm hung in a third of its boots under emulation. */
const machineType = 'pc-q35-7.2'
/** x86-64-v2, what today's distributions are built for; `max` takes half as long again to boot under emulation. */
const emulatedCpu = 'Nehalem'

const inRun = (name: string): string => `/proc/self/fd/${runFd}/${name}`
/** The port of the guest's agent, as QEMU's events name it. */
export const agentPort = 'agent'
export const consolePath = `/proc/self/fd/${consoleFd}/now`

export class PoolPaths {
  readonly #pools: readonly PoolId[]

  constructor(pools: readonly PoolId[]) {
    this.#pools = pools
  }

  layer = (pool: PoolId, layer: LayerId): string => `${this.#of(pool)}/layers/${layer}.qcow2`
  blob = (pool: PoolId, image: string): string => `${this.#of(pool)}/blobs/${image}`

  #of(pool: PoolId): string {
    const at = this.#pools.indexOf(pool)
    if (at < 0)
      throw refuse.hostFailure({ what: `the machine was started before this host had pool ${pool}; stop and start it` })
    return `/proc/self/fd/${firstPoolFd + at}`
  }
}

/** A node for a layer upon another node, or upon nothing. The header's own backing name is not asked. */
export const layerNode = (path: string, layer: LayerId, how: { readOnly: boolean; backing: string | null }) => ({
  driver: 'qcow2',
  'node-name': nodeOf(layer),
  'read-only': how.readOnly,
  discard: 'unmap',
  backing: how.backing,
  file: { driver: 'file', filename: path, 'node-name': fileNodeOf(layer), 'auto-read-only': true, discard: 'unmap' },
})

export type LayerNode = ReturnType<typeof layerNode>

/** Nodes of the disk's chain, bottom first. Layers that another disk has brought already are left out: they are shared. */
export function chainNodes(disk: MachineDisk, paths: PoolPaths, present: Set<LayerId>): LayerNode[] {
  return disk.chain.flatMap((layer, at) => {
    if (present.has(layer)) return []
    present.add(layer)
    const below = disk.chain[at - 1]
    const how = { readOnly: at < disk.chain.length - 1, backing: below === undefined ? null : nodeOf(below) }
    return [layerNode(paths.layer(disk.pool, layer), layer, how)]
  })
}

/** `vda` is 0. The place on the PCI bus follows from it, so it never moves. */
export const placeOf = (device: string): number => device.charCodeAt(device.length - 1) - 'a'.charCodeAt(0)

export const diskDevice = (disk: MachineDisk, head: LayerId) => ({
  driver: 'virtio-blk-pci',
  id: disk.device,
  bus: `rp${placeOf(disk.device)}`,
  drive: nodeOf(head),
  serial: disk.volume.slice(0, 20),
  werror: 'stop',
  rerror: 'stop',
})

export const headOf = (disk: MachineDisk): LayerId => {
  const head = disk.chain.at(-1)
  if (head === undefined) throw refuse.malformed({ why: `Disk ${disk.device} has no layer.` })
  return head
}

/** Every disk sits on a port of its own, because only ports take disks while the machine runs. Eight of them a slot, some spare. */
const portsAtOnce = 8
const sparePorts = 4
const firstPortSlot = 0x10

export const portCount = (disks: readonly MachineDisk[]): number =>
  portsAtOnce * Math.ceil((Math.max(-1, ...disks.map(({ device }) => placeOf(device))) + 1 + sparePorts) / portsAtOnce)

const port = (at: number): string =>
  `pcie-root-port,id=rp${at},bus=pcie.0,chassis=${at + 1},slot=${at},multifunction=on,io-reserve=0,addr=0x${(firstPortSlot + Math.floor(at / portsAtOnce)).toString(16)}.${at % portsAtOnce}`

const options = (of: object): string =>
  Object.entries(of)
    .map(([name, value]) => (name === 'driver' ? String(value) : `${name}=${value}`))
    .join(',')

function diskArguments(spec: MachineSpec, paths: PoolPaths): string[] {
  const present = new Set<LayerId>()
  const nodes = spec.disks.flatMap((disk) => chainNodes(disk, paths, present))
  const ports = Array.from({ length: portCount(spec.disks) }, (_, at) => ['-device', port(at)])
  // Index 0 is the kernel's own where there is one.
  const devices = spec.disks.map((disk, at) => ['-device', options({ ...diskDevice(disk, headOf(disk)), bootindex: at + 1 })])
  return [...nodes.flatMap((node) => ['-blockdev', JSON.stringify(node)]), ...ports.flat(), ...devices.flat()]
}

function bootArguments({ directBoot }: MachineSpec, paths: PoolPaths): string[] {
  if (directBoot === null) return []
  const { pool, kernel, ramdisk, args } = directBoot
  return [
    ...['-kernel', paths.blob(pool, kernel)],
    ...(ramdisk === null ? [] : ['-initrd', paths.blob(pool, ramdisk)]),
    ...(args === '' ? [] : ['-append', args]),
  ]
}

const channels = [
  ...['-chardev', `socket,id=control,path=${inRun('control')},server=on,wait=off`, '-mon', 'chardev=control,mode=control'],
  ...['-chardev', `socket,id=events,path=${inRun('events')},server=on,wait=off`, '-mon', 'chardev=events,mode=control'],
  ...['-chardev', `file,id=console,path=${consolePath},append=on`, '-serial', 'chardev:console'],
  ...['-device', 'virtio-serial-pci,id=serial,bus=pcie.0,addr=0x3'],
  ...['-chardev', `socket,id=qga,path=${inRun('qga')},server=on,wait=off`],
  ...['-device', `virtserialport,id=${agentPort},bus=serial.0,nr=1,chardev=qga,name=org.qemu.guest_agent.0`],
  ...['-chardev', `socket,id=cmd,path=${inRun('cmd')},server=on,wait=off`],
  ...['-device', 'virtserialport,bus=serial.0,nr=2,chardev=cmd,name=cmd'],
  ...['-object', 'rng-random,id=rng,filename=/dev/urandom', '-device', 'virtio-rng-pci,rng=rng,bus=pcie.0,addr=0x4'],
]

/** Its file is made in the machine's run directory before it starts. A CD-ROM, so that no disk's name depends on it. */
export const configDriveFile = 'config.iso'

function configArguments({ configDrive }: MachineSpec): string[] {
  if (configDrive === undefined) return []
  const file = { driver: 'file', filename: inRun(configDriveFile), 'read-only': true, locking: 'off' }
  return [
    ...['-blockdev', JSON.stringify({ driver: 'raw', 'node-name': 'config', 'read-only': true, file })],
    ...['-device', 'virtio-scsi-pci,id=scsi,bus=pcie.0,addr=0x5', '-device', 'scsi-cd,bus=scsi.0,drive=config'],
  ]
}

/** A guest that powers off leaves QEMU waiting (`-no-shutdown`): an agent that comes later still learns why the machine ended. */
export function qemuArguments(spec: MachineSpec, pools: readonly PoolId[], accelerator: 'kvm' | 'tcg'): string[] {
  const paths = new PoolPaths(pools)
  return [
    ...['-name', `guest=${spec.instance}`, '-uuid', spec.instance],
    ...['-machine', `${machineType},sata=off,smbus=off,vmport=off`, '-no-shutdown'],
    ...(accelerator === 'kvm' ? ['-accel', 'kvm', '-cpu', 'host'] : ['-accel', 'tcg', '-cpu', emulatedCpu]),
    ...['-smp', String(spec.vcpus), '-m', String(spec.ramMib)],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-rtc', 'base=utc'],
    ...['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    ...channels,
    ...networkArguments(spec.nic),
    ...diskArguments(spec, paths),
    ...configArguments(spec),
    ...bootArguments(spec, paths),
  ]
}

/** The command that gives up all privileges first. The process keeps its number, so the one that was spawned is QEMU's. */
export function unprivileged({ user, kvmGroup }: Pick<MachinesEnvironment, 'user' | 'kvmGroup'>): string[] {
  if (user === null) return ['setpriv', '--no-new-privs', '--']
  const groups = kvmGroup === null ? '--clear-groups' : `--groups=${kvmGroup}`
  const drop = ['--no-new-privs', '--bounding-set=-all', '--inh-caps=-all', '--']
  return ['setpriv', `--reuid=${user.uid}`, `--regid=${user.gid}`, groups, ...drop]
}
