/** Which backups need what is damaged: their trees are walked, but what one shares with the one before it only once. */
import type { BackupRef } from '../../ports/vault-mover.ts'
import type { ObjectName } from '../../ports/vault-store.ts'
import { Damaged } from './format/damage.ts'
import { childOf, fanOut, isZeroId } from './format/shape.ts'
import { Locator } from './index/locator.ts'
import { treeOf } from './pages.ts'
import type { Tree } from './tree/tree.ts'
import type { Manifest, VolumeVault } from './volume.ts'

/** Objects that are damaged altogether, and single blobs, by their ids in hexadecimal, with the object in which they lie. */
export type Broken = { readonly objects: ReadonlySet<ObjectName>; readonly ids: ReadonlyMap<string, ObjectName> }

export type Touched = {
  of(object: ObjectName): readonly BackupRef[]
  /** What was found to be damaged, or not to be there, on the way. */
  readonly missing: readonly Damaged[]
}

type Objects = ReadonlySet<ObjectName>
const none: Objects = new Set()

export async function touches(
  volume: VolumeVault,
  manifests: readonly Manifest[],
  broken: Broken,
  signal: AbortSignal | undefined,
): Promise<Touched> {
  const walk = new Walk(new Locator(volume.store, volume.keys, volume.names), broken, signal)
  const touched = new Map<ObjectName, BackupRef[]>()
  let before: Tree | null = null
  for (const manifest of manifests) {
    const tree = treeOf(volume, walk.locator, manifest)
    for (const object of await walk.page(tree, before, tree.root, tree.depth, 0)) {
      const refs = touched.get(object) ?? []
      touched.set(object, [...refs, manifest.of])
    }
    before = tree
  }
  return { of: (object) => touched.get(object) ?? [], missing: walk.missing }
}

class Walk {
  readonly locator: Locator
  readonly missing: Damaged[] = []
  readonly #broken: Broken
  readonly #signal: AbortSignal | undefined
  /** What is damaged at a page or a block, or below it, where anything is. */
  readonly #below = new Map<string, Objects>()

  constructor(locator: Locator, broken: Broken, signal: AbortSignal | undefined) {
    this.locator = locator
    this.#broken = broken
    this.#signal = signal
  }

  /** The damaged objects that the page, and what is below it, need. */
  async page(tree: Tree, before: Tree | null, id: Buffer, level: number, position: number): Promise<Objects> {
    if (isZeroId(id)) return none
    const same = before !== null && level <= before.depth ? await this.#idAt(before, level, position) : null
    if (same?.equals(id) === true) return this.#below.get(id.toString('hex')) ?? none
    this.#signal?.throwIfAborted()
    const found = new Set(await this.#own(id))
    const page = await this.#read(tree, level, position, found)
    for (let index = 0; page !== null && index < fanOut; index++) {
      const child = childOf(page, index)
      if (isZeroId(child)) continue
      const objects =
        level === 1 ? await this.#own(child) : await this.page(tree, before, child, level - 1, position * fanOut + index)
      for (const object of objects) found.add(object)
    }
    if (found.size > 0) this.#below.set(id.toString('hex'), found)
    return found
  }

  async #read(tree: Tree, level: number, position: number, found: Set<ObjectName>): Promise<Buffer | null> {
    try {
      return await tree.pageAt(level, position)
    } catch (error) {
      if (!(error instanceof Damaged)) throw error
      this.#note(error)
      found.add(error.object)
      return null
    }
  }

  /** Null: it cannot be told, for the tree before is damaged there. */
  async #idAt(before: Tree, level: number, position: number): Promise<Buffer | null> {
    try {
      return await before.idAt(level, position)
    } catch (error) {
      if (error instanceof Damaged) return null
      throw error
    }
  }

  /** The damaged object in which a blob lies, if it does. */
  async #own(id: Buffer): Promise<Objects> {
    const known = this.locator.known(id)
    if (known !== null && this.#broken.ids.size === 0 && !this.#broken.objects.has(known.pack)) return none
    const hex = id.toString('hex')
    const bad = this.#broken.ids.get(hex)
    if (bad !== undefined) return new Set([bad])
    const before = this.#below.get(hex)
    if (before !== undefined) return before
    try {
      const { pack } = known ?? (await this.locator.find(id))
      return this.#broken.objects.has(pack) ? new Set([pack]) : none
    } catch (error) {
      if (!(error instanceof Damaged)) throw error
      this.#note(error)
      const objects = new Set([error.object])
      this.#below.set(hex, objects)
      return objects
    }
  }

  #note(damaged: Damaged): void {
    if (!this.missing.some(({ object }) => object === damaged.object)) this.missing.push(damaged)
  }
}
