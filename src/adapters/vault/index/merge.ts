/** Several index objects as one: streamed in the order of their ids, without the entries of packs that are gone. */
import type { VaultStore } from '../../../ports/vault-store.ts'
import { Damaged } from '../format/damage.ts'
import { entryBytes } from '../format/entry.ts'
import type { VaultKeyring } from '../format/keys.ts'
import { type Stem, stemIn } from '../format/names.ts'
import { type IndexObject, indexObject, recordBytes } from './object.ts'

/** Records that are handed on at once. */
const batch = 512

/** The bytes of the merged object, which replaces the others. */
export function mergedIndex(
  store: VaultStore,
  keys: VaultKeyring,
  objects: readonly IndexObject[],
  packs: ReadonlySet<Stem>,
): AsyncGenerator<Buffer> {
  const numbers = new Map<Stem, number>()
  for (const object of objects)
    for (let number = 0; number < object.packs; number++) {
      const stem = object.packAt(number)
      if (packs.has(stem) && !numbers.has(stem)) numbers.set(stem, numbers.size)
    }
  const replaces = objects.map(({ name }) => stemIn(name))
  return indexObject(keys, [...numbers.keys()], records(store, objects, numbers), replaces)
}

async function* records(
  store: VaultStore,
  objects: readonly IndexObject[],
  numbers: ReadonlyMap<Stem, number>,
): AsyncGenerator<Buffer> {
  const cursors: Cursor[] = []
  for (const object of objects) {
    const cursor = new Cursor(store, object)
    if (await cursor.begin()) cursors.push(cursor)
  }
  let out = Buffer.alloc(batch * recordBytes)
  let filled = 0
  let last: Buffer = Buffer.alloc(0)
  while (cursors.length > 0) {
    const least = cursors.reduce((best, cursor) => (cursor.record.compare(best.record) < 0 ? cursor : best))
    const number = numbers.get(least.object.packAt(least.record.readUInt32BE(entryBytes)))
    if (number !== undefined) {
      const record = out.subarray(filled, filled + recordBytes)
      least.record.copy(record)
      record.writeUInt32BE(number, entryBytes)
      if (!last.equals(record)) {
        last = record
        filled += recordBytes
        if (filled === out.length) {
          yield out
          out = Buffer.alloc(batch * recordBytes)
          filled = 0
        }
      }
    }
    if (!(await least.next())) cursors.splice(cursors.indexOf(least), 1)
  }
  if (filled > 0) yield out.subarray(0, filled)
}

/** Goes through the records of an object. */
class Cursor {
  readonly object: IndexObject
  readonly #store: VaultStore
  #records = Buffer.alloc(0)
  #at = 0
  #chunk = 0

  constructor(store: VaultStore, object: IndexObject) {
    this.#store = store
    this.object = object
  }

  get record(): Buffer {
    return this.#records.subarray(this.#at, this.#at + recordBytes)
  }

  begin(): Promise<boolean> {
    return this.#load()
  }

  /** False: there are no more. */
  async next(): Promise<boolean> {
    this.#at += recordBytes
    return this.#at < this.#records.length || (await this.#load())
  }

  async #load(): Promise<boolean> {
    if (this.#chunk >= this.object.chunks) return false
    const records = await this.object.read(this.#store, this.#chunk++)
    if (records === null) throw new Damaged(this.object.name, 'it is not there')
    this.#records = Buffer.from(records)
    this.#at = 0
    return true
  }
}
