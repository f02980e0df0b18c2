/** Makes a tree out of an earlier one and what has changed, which is told in ascending order. Holds one page a level. */
import { childOf, fanOut, isZeroId, zeroId, zeroPage } from '../format/shape.ts'
import type { Tree } from './tree.ts'

/** Names a page and, unless it has the id `known`, stores it. */
export type WritePage = (level: number, content: Buffer, known: Buffer | null) => Promise<Buffer>

type OpenPage = { readonly position: number; readonly ids: Buffer }

export class TreeBuilder {
  readonly #earlier: Tree
  readonly #depth: number
  readonly #write: WritePage
  /** By level; from the root down to some level without a gap, or none at all. */
  readonly #open = new Map<number, OpenPage>()
  #root: Buffer

  private constructor(earlier: Tree, depth: number, write: WritePage) {
    this.#earlier = earlier
    this.#depth = depth
    this.#write = write
    this.#root = earlier.root
  }

  /** `depth`: at least that of the earlier tree. */
  static async over(earlier: Tree, depth: number, write: WritePage): Promise<TreeBuilder> {
    const builder = new TreeBuilder(earlier, depth, write)
    if (depth > earlier.depth && !isZeroId(earlier.root)) await builder.#reach(earlier.depth + 1, 0)
    return builder
  }

  /** What lies at the place is from now on this page, or block; what is not told stays as it was. */
  async assign(level: number, position: number, id: Buffer): Promise<void> {
    if (level === this.#depth) {
      this.#root = id
      return
    }
    const page = await this.#reach(level + 1, Math.floor(position / fanOut))
    id.copy(page.ids, (position % fanOut) * id.length)
  }

  /** The id of the root. */
  async finish(): Promise<Buffer> {
    await this.#close(this.#depth)
    return this.#root
  }

  async #reach(level: number, position: number): Promise<OpenPage> {
    const there = this.#open.get(level)
    if (there?.position === position) {
      await this.#close(level - 1)
      return there
    }
    await this.#close(level)
    if (level < this.#depth) await this.#reach(level + 1, Math.floor(position / fanOut))
    const page = { position, ids: Buffer.from(await this.#earlier.pageAt(level, position)) }
    this.#open.set(level, page)
    return page
  }

  /** Closes what is open of this level and below. */
  async #close(upTo: number): Promise<void> {
    for (let level = 1; level <= upTo; level++) {
      const page = this.#open.get(level)
      if (page === undefined) continue
      const known = level <= this.#earlier.depth ? await this.#earlier.idAt(level, page.position) : null
      const id = page.ids.equals(zeroPage) ? zeroId : await this.#write(level, page.ids, known)
      this.#open.delete(level)
      const parent = this.#open.get(level + 1)
      if (parent === undefined) this.#root = id
      else id.copy(childOf(parent.ids, page.position % fanOut))
    }
  }
}
