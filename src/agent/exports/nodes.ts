/** Block nodes for layers that are served, and how two chains compare. */
import type { LayerId } from '../../domain/ids.ts'
import { poolPath } from './storage-daemon.ts'

/**
 * Tables of 512 MiB of a disk at once, for each layer: what is read lies in order. QEMU's own choice is up to 32 MiB a layer, too
 * much where a chain has sixty.
 */
const tableCacheBytes = 1024 ** 2

const fileOf = (layer: LayerId): string => `${poolPath}/layers/${layer}.qcow2`

/** Nodes of a chain, bottom first, and the one on top. Nothing depends on what the files' headers say of each other. */
export function readOnlyChain(
  chain: readonly LayerId[],
  prefix: string,
): { readonly nodes: readonly object[]; readonly top: string } {
  const nodes = chain.map((layer, at) => ({
    driver: 'qcow2',
    'node-name': `${prefix}${at}`,
    'read-only': true,
    'l2-cache-size': tableCacheBytes,
    backing: at === 0 ? null : `${prefix}${at - 1}`,
    file: { driver: 'file', filename: fileOf(layer), 'read-only': true },
  }))
  return { nodes, top: `${prefix}${chain.length - 1}` }
}

/** A layer by itself: what it does not hold reads as zeros, whatever lies below it. */
export const writableLayer = (layer: LayerId, name: string) => ({
  driver: 'qcow2',
  'node-name': name,
  discard: 'unmap',
  'detect-zeroes': 'unmap',
  backing: null,
  file: { driver: 'file', filename: fileOf(layer), discard: 'unmap' },
})

/** How many layers the chains have in common, from the bottom on. */
export function sharedLayers(one: readonly LayerId[], other: readonly LayerId[]): number {
  const differs = one.findIndex((layer, at) => layer !== other[at])
  return differs < 0 ? one.length : differs
}
