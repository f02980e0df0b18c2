/**
 * Finds where blobs lie: in the footers of packs that were met lately, else in the index objects, the one that knew the last
 * answer first. Neighbours of a disk mostly lie in one pack, so a chunk of an index is read about once a pack. Where an index
 * object is damaged or missing, the footers of the packs that no other speaks of are searched instead.
 */
import type { ObjectName, VaultStore } from '../../../ports/vault-store.ts'
import { Damaged } from '../format/damage.ts'
import type { Entry } from '../format/entry.ts'
import type { VaultKeyring } from '../format/keys.ts'
import { stemIn, type VolumeNames } from '../format/names.ts'
import { openPack, type Pack } from '../format/pack.ts'
import { kept } from '../kept.ts'
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
  #isStale = false
  #unspoken: Promise<ObjectName[]> | null = null

  constructor(store: VaultStore, keys: VaultKeyring, names: VolumeNames) {
    this.#store = store
    this.#keys = keys
    this.#names = names
  }

  /** Null: it takes `find`. */
  known(id: Buffer): Place | null {
    return this.#places.get(keyOf(id)) ?? null
  }

  /** Throws `Damaged` where no pack that is there holds it. */
  async find(id: Buffer): Promise<Place> {
    const known = this.known(id)
    if (known !== null) return known
    let missing: ObjectName | null = null
    do {
      this.#isStale = false
      this.#objects ??= openIndexes(this.#store, this.#keys, this.#names).then(({ objects }) => objects)
      for (const object of await this.#objects) {
        const found = await this.#findIn(object, id)
        if (typeof found === 'string') missing = found
        if (typeof found === 'string' || found === null) continue
        await this.#prefer(object)
        return found
      }
    } while (this.#isStale)
    return this.#search(id, missing)
  }

  /** The name of a pack: that is where it was, and the pack is not there any more. */
  async #findIn(object: IndexObject, id: Buffer): Promise<Place | ObjectName | null> {
    let missing: ObjectName | null = null
    for (const chunk of object.chunksOf(id)) {
      const records = await this.#chunk(object, chunk)
      if (records === null) continue
      for (const entry of entriesOf(id, records)) {
        const name = this.#names.pack(object.packAt(entry.pack))
        const place = (await this.#placesIn(name))?.get(keyOf(id))
        if (place !== undefined) return place
        missing = name
      }
    }
    return missing
  }

  async #prefer(object: IndexObject): Promise<void> {
    const objects = (await this.#objects) ?? []
    if (objects[0] !== object) this.#objects = Promise.resolve([object, ...objects.filter((other) => other !== object)])
  }

  /** Null: the object cannot be read, and nothing more is asked of it; or it has gone, and another has replaced it. */
  async #chunk(object: IndexObject, chunk: number): Promise<Buffer | null> {
    try {
      const records = await kept(this.#chunks, `${object.name} ${chunk}`, keptChunks, () => object.read(this.#store, chunk))
      if (records !== null) return records
      this.#isStale = true
      this.#objects = null
      return null
    } catch (error) {
      if (!(error instanceof Damaged)) throw error
      this.#objects = Promise.resolve(((await this.#objects) ?? []).filter((other) => other !== object))
      this.#unspoken = null
      return null
    }
  }

  /** In packs of which no readable index object speaks, from the one on in which the last was found. */
  async #search(id: Buffer, missing: ObjectName | null): Promise<Place> {
    this.#unspoken ??= this.#packsUnspoken()
    const packs = await this.#unspoken
    let unreadable: Damaged | null = null
    for (const [at, name] of packs.entries())
      try {
        const place = (await this.#placesIn(name))?.get(keyOf(id))
        if (place === undefined) continue
        this.#unspoken = Promise.resolve([...packs.slice(at), ...packs.slice(0, at)])
        return place
      } catch (error) {
        if (!(error instanceof Damaged)) throw error
        unreadable = error
      }
    if (missing !== null) throw new Damaged(missing, 'it is not there')
    throw unreadable ?? new Damaged(this.#names.packs, `no pack holds ${id.toString('hex')}`, id)
  }

  async #packsUnspoken(): Promise<ObjectName[]> {
    const spoken = new Set<string>()
    for (const object of (await this.#objects) ?? [])
      for (let number = 0; number < object.packs; number++) spoken.add(object.packAt(number))
    const names: ObjectName[] = []
    for await (const { name } of this.#store.list(this.#names.packs)) if (!spoken.has(stemIn(name))) names.push(name)
    return names.sort()
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

/** The index objects of a volume that no other replaces; and what is wrong with those that cannot be read. */
export async function openIndexes(
  store: VaultStore,
  keys: VaultKeyring,
  names: VolumeNames,
): Promise<{ objects: IndexObject[]; all: readonly ObjectName[]; damaged: readonly Damaged[] }> {
  const opened: IndexObject[] = []
  const all: ObjectName[] = []
  const damaged: Damaged[] = []
  for await (const { name } of store.list(names.indexes)) {
    all.push(name)
    try {
      const object = await IndexObject.open(store, name, keys)
      if (object !== null) opened.push(object)
    } catch (error) {
      if (!(error instanceof Damaged)) throw error
      damaged.push(error)
    }
  }
  const replaced = new Set(opened.flatMap((object) => object.replaces))
  const isReplaced = (name: ObjectName): boolean => replaced.has(stemIn(name))
  const objects = opened.filter(({ name }) => !isReplaced(name))
  return { objects, all, damaged: damaged.filter(({ object }) => !isReplaced(object)) }
}
