/**
 * The header of a qcow2 file and its extensions, read by ourselves: an uploaded file is judged before any tool opens it,
 * because opening it already opens the files it names. Layout: QEMU's docs/interop/qcow2.txt.
 */
import type { Bytes } from '../../../domain/ids.ts'

export type Qcow2Header = {
  readonly version: 2 | 3
  readonly clusterBits: number
  readonly sizeBytes: Bytes
  readonly backingFile: string | null
  readonly backingFormat: string | null
  /** The header says that guest data lies in another file, or names one. */
  readonly externalData: boolean
  readonly encrypted: boolean
  readonly corrupt: boolean
  /** Incompatible features that this page does not know. */
  readonly unknownFeatures: bigint
  readonly l1Entries: number
  readonly l1Offset: number
}

export type HeaderProblem = { readonly problem: string }

const magic = 0x514649fb
const extension = { end: 0, backingFormat: 0xe2792aca, externalData: 0x44415441 } as const
const incompatible = { dirty: 1n, corrupt: 2n, externalData: 4n, compression: 8n, extendedL2: 16n } as const
const known = Object.values(incompatible).reduce((all, bit) => all | bit, 0n)

/** The longest name QEMU accepts for a backing file. */
const longestName = 1023
const headerBytes = { 2: 72, 3: 104 } as const

export const looksLikeQcow2 = (start: Buffer): boolean => start.length >= 4 && start.readUInt32BE(0) === magic

/** The bytes that `readHeader` needs: the first cluster, which holds the header, its extensions and the backing file's name. */
export const headerClusterBytes = (start: Buffer): number => {
  const bits = start.length >= 24 ? start.readUInt32BE(20) : 0
  return bits >= 9 && bits <= 21 ? 2 ** bits : 512
}

function extensionsOf(cluster: Buffer, from: number): Map<number, Buffer> | HeaderProblem {
  const found = new Map<number, Buffer>()
  for (let at = from; at + 8 <= cluster.length; ) {
    const kind = cluster.readUInt32BE(at)
    const length = cluster.readUInt32BE(at + 4)
    if (kind === extension.end) return found
    if (at + 8 + length > cluster.length) return { problem: 'a header extension reaches beyond its cluster' }
    found.set(kind, cluster.subarray(at + 8, at + 8 + length))
    at += 8 + Math.ceil(length / 8) * 8
  }
  return found
}

function backingNameOf(cluster: Buffer): string | null | HeaderProblem {
  const offset = cluster.readBigUInt64BE(8)
  const length = cluster.readUInt32BE(16)
  if (offset === 0n) return null
  if (length > longestName || offset + BigInt(length) > BigInt(cluster.length)) {
    return { problem: 'the name of its backing file lies outside of the header' }
  }
  return cluster.toString('utf8', Number(offset), Number(offset) + length)
}

const isProblem = (value: unknown): value is HeaderProblem => typeof value === 'object' && value !== null && 'problem' in value

/** Reads the header from the file's first cluster (or the whole file, if it is shorter). */
export function readHeader(cluster: Buffer): Qcow2Header | HeaderProblem {
  if (!looksLikeQcow2(cluster)) return { problem: 'it does not begin as a qcow2 file does' }
  if (cluster.length < headerBytes[2]) return { problem: 'it ends within its header' }
  const version = cluster.readUInt32BE(4)
  if (version !== 2 && version !== 3) return { problem: `qcow2 version ${version} is not known` }
  if (cluster.length < headerBytes[version]) return { problem: 'it ends within its header' }
  const clusterBits = cluster.readUInt32BE(20)
  if (clusterBits < 9 || clusterBits > 21) return { problem: `clusters of 2^${clusterBits} bytes do not exist` }
  const size = cluster.readBigUInt64BE(24)
  if (size > BigInt(Number.MAX_SAFE_INTEGER)) return { problem: `a virtual size of ${size} bytes is absurd` }

  const headerLength = version === 2 ? headerBytes[2] : cluster.readUInt32BE(100)
  if (headerLength < headerBytes[version] || headerLength > cluster.length) return { problem: 'its header length is wrong' }
  const extensions = extensionsOf(cluster, headerLength)
  if (isProblem(extensions)) return extensions
  const backingFile = backingNameOf(cluster)
  if (isProblem(backingFile)) return backingFile

  const features = version === 2 ? 0n : cluster.readBigUInt64BE(72)
  return {
    version,
    clusterBits,
    sizeBytes: Number(size),
    backingFile,
    backingFormat: extensions.get(extension.backingFormat)?.toString('utf8') ?? null,
    externalData: (features & incompatible.externalData) !== 0n || extensions.has(extension.externalData),
    encrypted: cluster.readUInt32BE(32) !== 0,
    corrupt: (features & incompatible.corrupt) !== 0n,
    unknownFeatures: features & ~known,
    l1Entries: cluster.readUInt32BE(36),
    l1Offset: Number(cluster.readBigUInt64BE(40)),
  }
}
