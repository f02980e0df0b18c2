/**
 * A fresh qcow2 image, written by ourselves: the same bytes that `qemu-img create -u` writes (a test compares them), without
 * a process, and so that the files are synced by the one who answers for it. Compat 1.1, clusters of 64 KiB, 16-bit
 * refcounts, no lazy refcounts: an image that is killed needs no repair.
 */
import type { Bytes } from '../../../domain/ids.ts'

const clusterBits = 16
export const clusterBytes = 2 ** clusterBits
/** One L1 entry covers one cluster of L2 entries of 8 bytes. */
export const bytesPerL1Entry = (clusterBytes / 8) * clusterBytes
/** QEMU refuses a larger L1 table (32 MiB). */
const mostL1Entries = (32 * 1024 * 1024) / 8
export const largestImage: Bytes = mostL1Entries * bytesPerL1Entry

const headerLength = 112
const backingFormatExtension = 0xe2792aca

/** `bytes` are the start of the file; up to `fileBytes` it goes on in zeros. */
export type BlankImage = { readonly bytes: Buffer; readonly fileBytes: number }

/** Where the tables of an image lie, in clusters from the start of the file. */
export type Tables = {
  readonly l1Entries: number
  readonly l1At: number
  readonly refcountsAt: number
  readonly refcountClusters: number
}

export function writeHeader(bytes: Buffer, size: Bytes, { l1Entries, l1At, refcountsAt, refcountClusters }: Tables): void {
  bytes.writeUInt32BE(0x514649fb, 0)
  bytes.writeUInt32BE(3, 4)
  bytes.writeUInt32BE(clusterBits, 20)
  bytes.writeBigUInt64BE(BigInt(size), 24)
  bytes.writeUInt32BE(l1Entries, 36)
  bytes.writeBigUInt64BE(BigInt(l1At * clusterBytes), 40)
  bytes.writeBigUInt64BE(BigInt(refcountsAt * clusterBytes), 48)
  bytes.writeUInt32BE(refcountClusters, 56)
  bytes.writeUInt32BE(4, 96) // 2^4 = 16 bits a refcount
  bytes.writeUInt32BE(headerLength, 100)
}

function writeBacking(bytes: Buffer, backing: string): void {
  const format = 'qcow2'
  bytes.writeUInt32BE(backingFormatExtension, headerLength)
  bytes.writeUInt32BE(format.length, headerLength + 4)
  bytes.write(format, headerLength + 8)
  const nameAt = headerLength + 8 + 8 + 8 // behind the padded format and the end marker
  bytes.writeBigUInt64BE(BigInt(nameAt), 8)
  bytes.writeUInt32BE(bytes.write(backing, nameAt), 16)
}

/** An image of that size with nothing in it, upon the backing file or upon zeros. */
export function blankImage(size: Bytes, backing: string | null): BlankImage {
  const l1Entries = Math.ceil(size / bytesPerL1Entry)
  const l1Clusters = Math.max(1, Math.ceil((l1Entries * 8) / clusterBytes))
  const bytes = Buffer.alloc(2 * clusterBytes + 2 * (3 + l1Clusters))
  writeHeader(bytes, size, { l1Entries, l1At: 3, refcountsAt: 1, refcountClusters: 1 })
  if (backing !== null) writeBacking(bytes, backing)
  bytes.writeBigUInt64BE(BigInt(2 * clusterBytes), clusterBytes) // the only refcount block is cluster 2
  for (let cluster = 0; cluster < 3 + l1Clusters; cluster++) bytes.writeUInt16BE(1, 2 * clusterBytes + 2 * cluster)
  return { bytes, fileBytes: 3 * clusterBytes + l1Entries * 8 }
}
