/**
 * Which packs the backups of a volume need. A listed backup keeps all that it wrote, and what it shares with another listed
 * one is kept by that one; only the tree of a backup whose lender is gone has to be walked.
 */
import type { ObjectName } from '../../ports/vault-store.ts'
import { childOf, fanOut, isZeroId } from './format/shape.ts'
import type { Locator } from './index/locator.ts'
import { treeOf } from './pages.ts'
import type { Tree } from './tree/tree.ts'
import type { Manifest, VolumeVault } from './volume.ts'

/** `manifests`: all that count, in an order in which neighbours have much in common. Throws `Damaged`. */
export async function neededPacks(
  volume: VolumeVault,
  locator: Locator,
  manifests: readonly Manifest[],
  packs: readonly ObjectName[],
  signal: AbortSignal | undefined,
): Promise<ReadonlySet<ObjectName>> {
  const listed = new Set(manifests.map(({ of }) => of.backup))
  const own = manifests.map(({ of, attempt }) => `${volume.names.packs}/${of.backup}.${attempt}-`)
  const needed = new Set(packs.filter((name) => own.some((prefix) => name.startsWith(prefix))))
  let covered: Tree | null = null
  for (const manifest of manifests) {
    const tree = treeOf(volume, locator, manifest)
    if (manifest.shares !== null && !listed.has(manifest.shares)) {
      const walk = new Walk(tree, covered, locator, needed, signal)
      await walk.page(tree.root, tree.depth, 0)
    }
    covered = tree
  }
  return needed
}

class Walk {
  readonly #tree: Tree
  /** What it has is kept already. */
  readonly #covered: Tree | null
  readonly #locator: Locator
  readonly #needed: Set<ObjectName>
  readonly #signal: AbortSignal | undefined

  constructor(tree: Tree, covered: Tree | null, locator: Locator, needed: Set<ObjectName>, signal: AbortSignal | undefined) {
    this.#tree = tree
    this.#covered = covered
    this.#locator = locator
    this.#needed = needed
    this.#signal = signal
  }

  async page(id: Buffer, level: number, position: number): Promise<void> {
    if (isZeroId(id) || (await this.#isCovered(id, level, position))) return
    this.#signal?.throwIfAborted()
    await this.#need(id)
    const page = await this.#tree.pageAt(level, position)
    const covered = await this.#coveredPage(level, position)
    for (let index = 0; index < fanOut; index++) {
      const child = childOf(page, index)
      if (isZeroId(child) || (covered !== null && childOf(covered, index).equals(child))) continue
      if (level === 1) await this.#need(child)
      else await this.page(child, level - 1, position * fanOut + index)
    }
  }

  async #need(id: Buffer): Promise<void> {
    const place = this.#locator.known(id) ?? (await this.#locator.find(id))
    this.#needed.add(place.pack)
  }

  async #isCovered(id: Buffer, level: number, position: number): Promise<boolean> {
    const covered = this.#covered
    return covered !== null && level <= covered.depth && (await covered.idAt(level, position)).equals(id)
  }

  async #coveredPage(level: number, position: number): Promise<Buffer | null> {
    const covered = this.#covered
    return covered !== null && level <= covered.depth ? await covered.pageAt(level, position) : null
  }
}
