/** Collects where the blobs of a backup in the making lie, and writes index objects of them: one, or one for every so many. */
import type { ObjectName, VaultStore } from '../../../ports/vault-store.ts'
import { type Entry, entryBytes, writeEntry } from '../format/entry.ts'
import type { VaultKeyring } from '../format/keys.ts'
import { type Stem, stemOf, type VolumeNames } from '../format/names.ts'
import { idBytes, type Measures } from '../format/shape.ts'
import { indexObject, recordBytes } from './object.ts'

export type IndexWriting = {
  readonly store: VaultStore
  readonly keys: VaultKeyring
  readonly names: VolumeNames
  readonly writer: string
  readonly attempt: string
  readonly measures: Measures
}

export class SessionIndex {
  readonly #writing: IndexWriting
  #records = Buffer.alloc(1024 * recordBytes)
  #count = 0
  #packs = new Map<Stem, number>()
  readonly #written: ObjectName[] = []
  #storedBytes = 0
  #stored: Promise<void> = Promise.resolve()
  /** Said by the first object that is written. */
  #replaces: readonly Stem[]

  constructor(writing: IndexWriting, replaces: readonly Stem[] = []) {
    this.#writing = writing
    this.#replaces = replaces
  }

  /** Index objects that were written, and the bytes they take. */
  get written(): readonly ObjectName[] {
    return this.#written
  }
  get storedBytes(): number {
    return this.#storedBytes
  }

  add(entry: Entry, pack: Stem): void {
    const { indexEntries } = this.#writing.measures
    if (this.#count === indexEntries) this.#flush()
    if ((this.#count + 1) * recordBytes > this.#records.length)
      this.#records = Buffer.concat([this.#records], Math.min(this.#records.length * 2, indexEntries * recordBytes))
    const number = this.#packs.get(pack) ?? this.#packs.size
    this.#packs.set(pack, number)
    const at = this.#count++ * recordBytes
    writeEntry(entry, this.#records, at)
    this.#records.writeUInt32BE(number, at + entryBytes)
  }

  /** Resolves when nothing waits but what was added last; for whoever adds faster than the store writes. */
  async keepUp(): Promise<void> {
    await this.#stored
  }

  /** Resolves when all that was added survives a power cut. */
  async finish(): Promise<void> {
    if (this.#count > 0) this.#flush()
    await this.#stored
  }

  #flush(): void {
    const { store, keys, names, writer, attempt } = this.#writing
    const records = sorted(this.#records.subarray(0, this.#count * recordBytes))
    const name = names.index(stemOf(writer, attempt, this.#written.length))
    const bytes = indexObject(keys, [...this.#packs.keys()], [records], this.#replaces)
    this.#replaces = []
    this.#written.push(name)
    const before = this.#stored
    this.#stored = (async () => {
      await before
      await store.put(name, this.#counting(bytes))
    })()
    // Seen by `finish`.
    this.#stored.catch(() => undefined)
    this.#count = 0
    this.#packs = new Map()
  }

  async *#counting(bytes: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const some of bytes) {
      this.#storedBytes += some.length
      yield some
    }
  }
}

/** A copy of the records in the order of their ids, which are as good as random: nearly all are told apart by their first four bytes. */
function sorted(records: Buffer): Buffer {
  const count = records.length / recordBytes
  const order = new Float64Array(count)
  for (let number = 0; number < count; number++) order[number] = records.readUInt32BE(number * recordBytes) * count + number
  order.sort()
  const numbers = Array.from(order, (key) => key % count)
  const compare = (one: number, other: number): number =>
    records.compare(records, other * recordBytes, other * recordBytes + idBytes, one * recordBytes, one * recordBytes + idBytes)
  for (let at = 1; at < count; at++)
    for (let back = at; back > 0 && compare(numbers[back - 1] ?? 0, numbers[back] ?? 0) > 0; back--)
      [numbers[back - 1], numbers[back]] = [numbers[back] ?? 0, numbers[back - 1] ?? 0]
  const result = Buffer.allocUnsafe(records.length)
  numbers.forEach((number, at) => {
    records.copy(result, at * recordBytes, number * recordBytes, (number + 1) * recordBytes)
  })
  return result
}
