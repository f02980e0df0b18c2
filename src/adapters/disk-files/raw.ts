/** A disk as a plain file; what is never written stays a hole. */
import type { Bytes } from '../../domain/ids.ts'
import type { BlockTarget } from '../../ports/blocks.ts'
import { type DiskFile, writeAt } from './write-at.ts'

export async function rawFile(file: DiskFile, sizeBytes: Bytes): Promise<BlockTarget> {
  await file.truncate(sizeBytes)
  return {
    sizeBytes,
    write: (offset, data) => writeAt(file, data, offset),
    flush: () => file.sync(),
    close: async () => {},
  }
}
