/**
 * A qcow2 image that is written once, cluster by cluster in any order, without QEMU: data lies in the file as it comes, and the
 * tables that say where follow when it is flushed. 32 KiB of memory for every 512 MiB that hold data.
 */
import type { Bytes } from '../../domain/ids.ts'
import type { BlockTarget } from '../../ports/blocks.ts'
import { bytesPerL1Entry, clusterBytes, writeHeader } from '../storage/qcow2/blank.ts'
import { type DiskFile, writeAt } from './write-at.ts'

const entriesPerTable = clusterBytes / 8
const refcountsPerBlock = clusterBytes / 2
/** Set where exactly one entry leads to the cluster. */
const soleOwner = 1n << 63n

export class Qcow2File implements BlockTarget {
  readonly sizeBytes: Bytes
  readonly #file: DiskFile
  readonly #l1Entries: number
  readonly #l1Clusters: number
  /** Of each L2 table, the clusters that hold the data; 0: none. */
  readonly #tables = new Map<number, Uint32Array>()
  #next: number

  /** The file is empty. */
  constructor(file: DiskFile, sizeBytes: Bytes) {
    this.#file = file
    this.sizeBytes = sizeBytes
    this.#l1Entries = Math.ceil(sizeBytes / bytesPerL1Entry)
    this.#l1Clusters = Math.max(1, Math.ceil((this.#l1Entries * 8) / clusterBytes))
    this.#next = 1 + this.#l1Clusters
  }

  /** From the start of a cluster on that was not written before; only the disk's last one may be written in part. */
  async write(offset: Bytes, data: Uint8Array): Promise<void> {
    const end = offset + data.length
    if (offset % clusterBytes !== 0 || (end % clusterBytes !== 0 && end !== this.sizeBytes))
      throw new Error(`a write of ${data.length} bytes at ${offset} is not one of whole clusters`)
    const first = this.#next
    const count = Math.ceil(data.length / clusterBytes)
    this.#next += count
    for (let index = 0; index < count; index++) this.#place(offset / clusterBytes + index, first + index)
    await writeAt(this.#file, data, first * clusterBytes)
  }

  async flush(): Promise<void> {
    const l1 = Buffer.alloc(this.#l1Clusters * clusterBytes)
    for (const [number, table] of this.#tables) {
      const at = this.#next++
      l1.writeBigUInt64BE(BigInt(at * clusterBytes) | soleOwner, number * 8)
      await writeAt(this.#file, tableBytes(table), at * clusterBytes)
    }
    await writeAt(this.#file, l1, clusterBytes)
    const { refcountsAt, refcountClusters } = await this.#writeRefcounts()
    const header = Buffer.alloc(clusterBytes)
    writeHeader(header, this.sizeBytes, { l1Entries: this.#l1Entries, l1At: 1, refcountsAt, refcountClusters })
    await this.#file.truncate(this.#next * clusterBytes)
    await writeAt(this.#file, header, 0)
    await this.#file.sync()
  }

  async close(): Promise<void> {}

  #place(guestCluster: number, cluster: number): void {
    const number = Math.floor(guestCluster / entriesPerTable)
    const table = this.#tables.get(number) ?? new Uint32Array(entriesPerTable)
    this.#tables.set(number, table)
    const index = guestCluster % entriesPerTable
    if (table[index] !== 0) throw new Error(`cluster ${guestCluster} was written before`)
    table[index] = cluster
  }

  /** Every cluster of the file is used once, those of the refcounts themselves too. */
  async #writeRefcounts(): Promise<{ refcountsAt: number; refcountClusters: number }> {
    const before = this.#next
    let blocks = 0
    let refcountClusters = 1
    for (let used = before; blocks * refcountsPerBlock < used; used = before + blocks + refcountClusters) {
      blocks = Math.ceil(used / refcountsPerBlock)
      refcountClusters = Math.ceil((blocks * 8) / clusterBytes)
    }
    const table = Buffer.alloc(refcountClusters * clusterBytes)
    this.#next = before + blocks + refcountClusters
    for (let number = 0; number < blocks; number++) {
      const at = before + number
      table.writeBigUInt64BE(BigInt(at * clusterBytes), number * 8)
      await writeAt(this.#file, refcountBlock(this.#next - number * refcountsPerBlock), at * clusterBytes)
    }
    await writeAt(this.#file, table, (before + blocks) * clusterBytes)
    return { refcountsAt: before + blocks, refcountClusters }
  }
}

function tableBytes(table: Uint32Array): Buffer {
  const bytes = Buffer.alloc(clusterBytes)
  table.forEach((cluster, index) => {
    if (cluster !== 0) bytes.writeBigUInt64BE(BigInt(cluster * clusterBytes) | soleOwner, index * 8)
  })
  return bytes
}

/** A block whose first so many clusters are used once. */
function refcountBlock(used: number): Buffer {
  const bytes = Buffer.alloc(clusterBytes)
  const end = Math.min(used, refcountsPerBlock) * 2
  for (let at = 0; at < end; at += 2) bytes.writeUInt16BE(1, at)
  return bytes
}
