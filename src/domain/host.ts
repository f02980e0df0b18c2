/** A host runs one agent. Only `up` hosts take new work; evacuation and fencing states come with high availability. */
import type { HostId } from './ids.ts'

export type HostFacts = {
  readonly qemuVersion: string
  readonly accelerator: 'kvm' | 'tcg'
  readonly bootId: string
  readonly vcpus: number
  readonly memoryMib: number
}

export type Host = {
  readonly id: HostId
  readonly name: string
  readonly state: 'up' | 'down'
  readonly enabled: boolean
  readonly facts: HostFacts
}
