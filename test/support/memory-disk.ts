/** Disks in memory, for the data path: points that are read, and layers that are written. */
import type { BlockSource, BlockTarget, Extent } from '../../src/ports/blocks.ts'

/** What is told of a disk: in stretches of so many bytes, of which those that hold only zeros are holes. */
const grain = 4096

/** `before`: the content of the earlier point; without it, it cannot be told what changed. */
export function memorySource(content: Buffer, before?: Buffer): BlockSource & { readonly reads: [number, number][] } {
  const reads: [number, number][] = []
  async function* stretches(isTold: (offset: number, end: number) => boolean): AsyncGenerator<Extent> {
    for (let offset = 0; offset < content.length; offset += grain) {
      const end = Math.min(offset + grain, content.length)
      const kind = content.subarray(offset, end).some((byte) => byte !== 0) ? 'data' : 'zero'
      if (isTold(offset, end)) yield { offset, length: end - offset, kind }
    }
  }
  const isChanged = (offset: number, end: number): boolean =>
    before === undefined || end > before.length || !content.subarray(offset, end).equals(before.subarray(offset, end))
  return {
    reads,
    sizeBytes: content.length,
    extents: () => stretches(() => true),
    changedExtents: () => (before === undefined ? null : stretches(isChanged)),
    read: async (offset, length) => {
      reads.push([offset, length])
      if (offset + length > content.length) throw new Error('read beyond the end')
      return Buffer.from(content.subarray(offset, offset + length))
    },
    close: async () => undefined,
  }
}

export function memoryTarget(sizeBytes: number): BlockTarget & { readonly content: Buffer; isFlushed: boolean } {
  const content = Buffer.alloc(sizeBytes)
  return {
    content,
    sizeBytes,
    isFlushed: false,
    write: async (offset, data) => {
      if (offset + data.length > sizeBytes) throw new Error('write beyond the end')
      content.set(data, offset)
    },
    async flush() {
      this.isFlushed = true
    },
    close: async () => undefined,
  }
}
