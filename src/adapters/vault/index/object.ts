/**
 * An index object: which pack holds a blob, for many blobs, sorted by id. Entries of 52 bytes (entry.ts, and the number of the
 * pack in a table of packs) lie in sealed chunks of at most 64 KiB; the footer holds the table, and the first id of every chunk.
 */
import type { ObjectName, VaultStore } from '../../../ports/vault-store.ts'
import { closing, openContainer } from '../format/container.ts'
import { Damaged } from '../format/damage.ts'
import { type Entry, entryBytes, readEntry } from '../format/entry.ts'
import { newHeader, openPart, sealPart } from '../format/header.ts'
import type { VaultKeyring } from '../format/keys.ts'
import { readStem, type Stem, stemBytes, writeStem } from '../format/names.ts'
import { idBytes } from '../format/shape.ts'

export const recordBytes = entryBytes + 4
const chunkRecords = Math.floor((64 * 1024) / recordBytes)
/** First id, offset (8 bytes) and length of a chunk. */
const fenceBytes = idBytes + 12
const nothing = Buffer.alloc(0)

/** The bytes of an index object. `records`: sorted by id, in pieces of whole records. `replaces`: index objects whose entries are all in this one, or of no use. */
export async function* indexObject(
  keys: VaultKeyring,
  packs: readonly Stem[],
  records: AsyncIterable<Buffer> | Iterable<Buffer>,
  replaces: readonly Stem[] = [],
): AsyncGenerator<Buffer> {
  const header = newHeader('index', keys)
  const fences: Buffer[] = []
  let offset = 0
  let filling: Buffer[] = []
  let filled = 0
  const chunk = function* (): Generator<Buffer> {
    const plain = Buffer.concat(filling)
    const [text, tag] = sealPart(header.key, fences.length, nothing, plain)
    const fence = Buffer.alloc(fenceBytes)
    plain.copy(fence, 0, 0, idBytes)
    fence.writeBigUInt64BE(BigInt(offset), idBytes)
    fence.writeUInt32BE(text.length + tag.length, idBytes + 8)
    fences.push(fence)
    offset += text.length + tag.length
    filling = []
    filled = 0
    yield text
    yield tag
  }
  for await (const some of records)
    for (let at = 0; at < some.length; ) {
      const taken = some.subarray(at, at + (chunkRecords - filled) * recordBytes)
      filling.push(taken)
      filled += taken.length / recordBytes
      at += taken.length
      if (filled === chunkRecords) yield* chunk()
    }
  if (filled > 0) yield* chunk()
  yield closing(header, Buffer.concat([counted(packs.map(stemBuffer)), counted(fences), counted(replaces.map(stemBuffer))]))
}

const stemBuffer = (stem: Stem): Buffer => {
  const bytes = Buffer.alloc(stemBytes)
  writeStem(stem, bytes, 0)
  return bytes
}

function counted(parts: readonly Buffer[]): Buffer {
  const count = Buffer.alloc(4)
  count.writeUInt32BE(parts.length)
  return Buffer.concat([count, ...parts])
}

/** What is known of an index object without reading its chunks. */
export class IndexObject {
  readonly name: ObjectName
  readonly #key: Buffer
  readonly #stems: Buffer
  readonly #fences: Buffer
  readonly replaces: readonly Stem[]

  private constructor(name: ObjectName, key: Buffer, stems: Buffer, fences: Buffer, replaces: readonly Stem[]) {
    this.name = name
    this.#key = key
    this.#stems = stems
    this.#fences = fences
    this.replaces = replaces
  }

  /** Null: there is no such object. Throws `Damaged`. */
  static async open(store: VaultStore, name: ObjectName, keys: VaultKeyring): Promise<IndexObject | null> {
    const found = await openContainer(store, name, 'index', keys)
    if (found === null) return null
    let at = 0
    const take = (each: number): Buffer => {
      const bytes = found.footer.readUInt32BE(at) * each
      const taken = found.footer.subarray(at + 4, at + 4 + bytes)
      at += 4 + bytes
      return taken
    }
    const stems = take(stemBytes)
    const fences = take(fenceBytes)
    const replaced = take(stemBytes)
    const replaces = Array.from({ length: replaced.length / stemBytes }, (_, number) => readStem(replaced, number * stemBytes))
    return new IndexObject(name, found.key, stems, fences, replaces)
  }

  get chunks(): number {
    return this.#fences.length / fenceBytes
  }

  get packs(): number {
    return this.#stems.length / stemBytes
  }

  packAt(number: number): Stem {
    return readStem(this.#stems, number * stemBytes)
  }

  /** The chunks in which entries of the id can be: mostly one, two where equal ids lie on both sides of a border. */
  chunksOf(id: Buffer): readonly number[] {
    let from = 0
    let to = this.chunks
    // The first chunk whose first id is not below the one looked for.
    while (from < to) {
      const middle = (from + to) >> 1
      if (this.#firstOf(middle).compare(id) < 0) from = middle + 1
      else to = middle
    }
    const found = from > 0 ? [from - 1] : []
    for (let chunk = from; chunk < this.chunks && this.#firstOf(chunk).equals(id); chunk++) found.push(chunk)
    return found
  }

  #firstOf(chunk: number): Buffer {
    return this.#fences.subarray(chunk * fenceBytes, chunk * fenceBytes + idBytes)
  }

  /** The records of a chunk. Null: the object is gone. Throws `Damaged`. */
  async read(store: VaultStore, chunk: number): Promise<Buffer | null> {
    const fence = this.#fences.subarray(chunk * fenceBytes, (chunk + 1) * fenceBytes)
    const offset = Number(fence.readBigUInt64BE(idBytes))
    const sealed = await store.read(this.name, { offset, length: fence.readUInt32BE(idBytes + 8) })
    if (sealed === null) return null
    const plain = openPart(this.#key, chunk, nothing, sealed)
    if (plain === null) throw new Damaged(this.name, `chunk ${chunk} is damaged`)
    return plain
  }
}

/** Entries of the id among sorted records. */
export function entriesOf(id: Buffer, records: Buffer): readonly (Entry & { readonly pack: number })[] {
  let from = 0
  let to = records.length / recordBytes
  while (from < to) {
    const middle = (from + to) >> 1
    if (id.compare(records, middle * recordBytes, middle * recordBytes + idBytes) > 0) from = middle + 1
    else to = middle
  }
  const found = []
  for (let at = from * recordBytes; at < records.length && id.compare(records, at, at + idBytes) === 0; at += recordBytes)
    found.push({ ...readEntry(records, at), pack: records.readUInt32BE(at + entryBytes) })
  return found
}
