/** A disk whose blocks are numbers: 0 is zeros, any other number is content of its own. Large, and nearly empty. */
import type { BlockSource, BlockTarget, Extent } from '../../../src/ports/blocks.ts'

export const blockBytes = 65_536

/** `blocks`: numbers of the blocks that are not zeros. The last 512 bytes of the last block are not there. */
export type Disk = { readonly blockCount: number; readonly blocks: ReadonlyMap<number, number> }

export const sizeOf = ({ blockCount }: Disk): number => blockCount * blockBytes - 512

const contents = new Map<number, Buffer>()

export function contentOf(value: number): Buffer {
  const known = contents.get(value)
  if (known !== undefined) return known
  const content = Buffer.alloc(blockBytes)
  for (let at = 0; at < blockBytes && value !== 0; at += 4)
    content.writeUInt32LE(Math.imul(value * 16_384 + at / 4, 0x9e37_79b1) >>> 0, at)
  contents.set(value, content)
  return content
}

/** Differences are told in ragged pieces: a part of a block that changed is enough. */
export function modelSource(disk: Disk, before: Disk | null): BlockSource {
  const sizeBytes = sizeOf(disk)
  const { blocks } = disk
  async function* extents(): AsyncGenerator<Extent> {
    let offset = 0
    for (const block of [...blocks.keys()].sort((one, other) => one - other)) {
      const from = block * blockBytes
      if (from > offset) yield { offset, length: from - offset, kind: 'zero' }
      offset = Math.min(from + blockBytes, sizeBytes)
      yield { offset: from, length: offset - from, kind: 'data' }
    }
    if (offset < sizeBytes) yield { offset, length: sizeBytes - offset, kind: 'zero' }
  }
  async function* changes(from: Disk): AsyncGenerator<Extent> {
    const all = [...new Set([...blocks.keys(), ...from.blocks.keys()])].sort((one, other) => one - other)
    for (const block of all) {
      const value = blocks.get(block) ?? 0
      const wasWhole = block < from.blockCount - 1 || from.blockCount === disk.blockCount
      if (value === (from.blocks.get(block) ?? 0) && wasWhole) continue
      const offset = block * blockBytes
      const ragged = value === 0 ? 0 : 512 * (value % 7)
      const length = Math.min(value % 2 === 0 ? blockBytes - ragged : 4096, sizeBytes - offset - ragged)
      yield { offset: offset + ragged, length, kind: value === 0 && block !== disk.blockCount - 1 ? 'zero' : 'data' }
    }
  }
  return {
    sizeBytes,
    extents,
    changedExtents: () => (before === null ? null : changes(before)),
    read: async (offset, length) => {
      const bytes = Buffer.alloc(Math.ceil(length / blockBytes) * blockBytes)
      for (let at = 0; at < length; at += blockBytes) {
        const value = blocks.get((offset + at) / blockBytes)
        if (value !== undefined) contentOf(value).copy(bytes, at)
      }
      return bytes.subarray(0, length)
    },
    close: async () => undefined,
  }
}

/** Keeps what differs from the disk that is expected. */
export function modelTarget(expected: Disk): BlockTarget & { differences(): string[] } {
  const written = new Set<number>()
  const wrong: string[] = []
  const sizeBytes = sizeOf(expected)
  return {
    sizeBytes,
    write: async (offset, data) => {
      for (let at = 0; at < data.length; at += blockBytes) {
        const block = (offset + at) / blockBytes
        const content = contentOf(expected.blocks.get(block) ?? 0).subarray(
          0,
          Math.min(blockBytes, sizeBytes - block * blockBytes),
        )
        if (!content.equals(data.subarray(at, at + blockBytes))) wrong.push(`block ${block} is another`)
        written.add(block)
      }
    },
    flush: async () => undefined,
    close: async () => undefined,
    differences: () => [
      ...wrong,
      ...[...expected.blocks]
        .filter(([block, value]) => value !== 0 && !written.has(block))
        .map(([block]) => `block ${block} is missing`),
    ],
  }
}
