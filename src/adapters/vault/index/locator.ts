/**
 * Finds where blobs lie: in the footers of packs that were met lately, else in the index objects, the one that knew the last
 * answer first. Neighbours of a disk mostly lie in one pack, so a chunk of an index is read about once a pack.
 */
import type { ObjectName, VaultStore } from '../../../ports/vault-store.ts'
import { Damaged } from '../format/damage.ts'
import type { Entry } from '../format/entry.ts'
import type { VaultKeyring } from '../format/keys.ts'
import { stemIn, type VolumeNames } from '../format/names.ts'
import { openPack, type Pack } from '../format/pack.ts'
import { entriesOf, IndexObject } from './object.ts'

export type Place = Entry & { readonly pack: ObjectName; readonly packKey: Buffer }

type PackPlaces = ReadonlyMap<string, Place>

/** Entries of footers that are kept, of at least one pack. About 300 bytes each. */
const keptEntries = 64 * 1024
const keptChunks = 128

const keyOf = (id: Buffer): string => id.toString('latin1')

export class Locator {
  readonly #store: VaultStore
  readonly #keys: VaultKeyring
  readonly #names: VolumeNames
  readonly #places = new Map<string, Place>()
  readonly #packs = new Map<ObjectName, Promise<PackPlaces | null>>()
  readonly #chunks = new Map<string, Promise<Buffer | null>>()
  #entries = 0
  #objects: Promise<IndexObject[]> | null = null

  constructor(store: VaultStore, keys: VaultKeyring, names: VolumeNames) {
    this.#store = store
    this.#keys = keys
    this.#names = names
  }

  /** Throws `Damaged` where no pack that is there holds it. */
  async find(id: Buffer): Promise<Place> {
    const known = this.#places.get(keyOf(id))
    if (known !== undefined) return known
    this.#objects ??= this.#openAll()
    const objects = await this.#objects
    for (const object of objects) {
      const place = await this.#findIn(object, id)
      if (place === null) continue
      if (objects[0] !== object) this.#objects = Promise.resolve([object, ...objects.filter((other) => other !== object)])
      return place
    }
    throw new Damaged(this.#names.packs, `no pack holds ${id.toString('hex')}`)
  }

  async #openAll(): Promise<IndexObject[]> {
    const objects: IndexObject[] = []
    for await (const { name } of this.#store.list(this.#names.indexes)) {
      const object = await IndexObject.open(this.#store, name, this.#keys)
      if (object !== null) objects.push(object)
    }
    const replaced = new Set(objects.flatMap((object) => object.replaces))
    return objects.filter((object) => !replaced.has(stemIn(object.name)))
  }

  async #findIn(object: IndexObject, id: Buffer): Promise<Place | null> {
    for (const chunk of object.chunksOf(id)) {
      const records = await this.#chunk(object, chunk)
      if (records === null) continue
      for (const entry of entriesOf(id, records)) {
        const pack = await this.#placesIn(this.#names.pack(object.packAt(entry.pack)))
        const place = pack?.get(keyOf(id))
        if (place !== undefined) return place
      }
    }
    return null
  }

  #chunk(object: IndexObject, chunk: number): Promise<Buffer | null> {
    return kept(this.#chunks, `${object.name} ${chunk}`, keptChunks, () => object.read(this.#store, chunk))
  }

  /** Null: the pack is not there any more. */
  #placesIn(name: ObjectName): Promise<PackPlaces | null> {
    const loading = this.#packs.get(name)
    if (loading !== undefined) return loading
    const places = openPack(this.#store, name, this.#keys).then((pack) => (pack === null ? null : this.#keep(pack)))
    this.#packs.set(name, places)
    places.catch(() => this.#packs.delete(name))
    return places
  }

  #keep({ name, key, entries }: Pack): PackPlaces {
    const places = new Map<string, Place>()
    for (const entry of entries) places.set(keyOf(entry.id), { ...entry, pack: name, packKey: key })
    for (const [id, place] of places) this.#places.set(id, place)
    this.#entries += places.size
    void this.#forget(name)
    return places
  }

  async #forget(newest: ObjectName): Promise<void> {
    for (const [name, loading] of this.#packs) {
      if (this.#entries <= keptEntries || name === newest) return
      this.#packs.delete(name)
      const places: PackPlaces = (await loading.catch(() => null)) ?? new Map()
      this.#entries -= places.size
      for (const [id, place] of places) if (this.#places.get(id) === place) this.#places.delete(id)
    }
  }
}

/** What the map has under the key, or is going to have; the oldest are forgotten. */
function kept<Value>(map: Map<string, Promise<Value>>, key: string, most: number, load: () => Promise<Value>): Promise<Value> {
  const there = map.get(key)
  if (there !== undefined) return there
  const value = load()
  map.set(key, value)
  value.catch(() => map.delete(key))
  for (const oldest of map.keys()) {
    if (map.size <= most) break
    map.delete(oldest)
  }
  return value
}
