/** QEMU's user network: its DHCP gives the port's fixed address to the port's MAC, and nothing on the host or beyond is reachable. */
import { refuse } from '../../domain/refusals.ts'
import type { MachineSpec } from '../../ports/host-agent.ts'

const numberOf = (ip: string): number => ip.split('.').reduce((sum, part) => sum * 256 + Number(part), 0)
const textOf = (ip: number): string => [24, 16, 8, 0].map((shift) => Math.floor(ip / 2 ** shift) % 256).join('.')

/** An address of the network that is nobody's else: QEMU wants one for its name server. */
function freeAddress(cidr: string, taken: readonly string[]): string {
  const [network = '', bits] = cidr.split('/')
  const size = 2 ** (32 - Number(bits))
  const first = Math.floor(numberOf(network) / size) * size
  for (let at = first + size - 2; at > first; at--) if (!taken.includes(textOf(at))) return textOf(at)
  throw refuse.malformed({ why: `Network ${cidr} is too small.` })
}

export function networkArguments(nic: MachineSpec['nic']): string[] {
  if (nic === null) return []
  const { mac, ip, cidr, gateway } = nic
  const dns = freeAddress(cidr, [ip, gateway])
  return [
    ...['-netdev', `user,id=net0,net=${cidr},host=${gateway},dns=${dns},dhcpstart=${ip},restrict=on`],
    ...['-device', `virtio-net-pci,netdev=net0,mac=${mac},romfile=,bus=pcie.0,addr=0x2`],
  ]
}
