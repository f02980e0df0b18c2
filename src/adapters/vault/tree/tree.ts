/** A backup's tree of pages, read as far as it is asked for. Position: the number of a page among those of its level. */
import { childOf, fanOut, isZeroId, zeroId, zeroPage } from '../format/shape.ts'
import { kept } from '../kept.ts'

/** Reads the content of a page. */
export type ReadPage = (id: Buffer, level: number) => Promise<Buffer>

/** Of one level up from the leaves; a leaf page is asked for once or twice. */
const keptPages = 256

export class Tree {
  readonly root: Buffer
  readonly depth: number
  readonly #read: ReadPage
  readonly #pages = new Map<string, Promise<Buffer>>()

  constructor(read: ReadPage, root: Buffer, depth: number) {
    this.#read = read
    this.root = root
    this.depth = depth
  }

  /** The id of a page, or of a block. Zeros stand outside of the disk. */
  async idAt(level: number, position: number): Promise<Buffer> {
    if (level > this.depth) throw new Error('there are no pages above the root')
    if (level === this.depth) return position === 0 ? this.root : zeroId
    return childOf(await this.pageAt(level + 1, Math.floor(position / fanOut)), position % fanOut)
  }

  /** The ids under a page; not to be changed. Above the root it is as if the disk were larger, and zeros there. */
  pageAt(level: number, position: number): Promise<Buffer> {
    return kept(this.#pages, `${level}/${position}`, keptPages, () => this.#load(level, position))
  }

  async #load(level: number, position: number): Promise<Buffer> {
    if (level > this.depth) return level === this.depth + 1 && position === 0 ? firstOnly(this.root) : zeroPage
    const id = await this.idAt(level, position)
    return isZeroId(id) ? zeroPage : this.#read(id, level)
  }
}

function firstOnly(id: Buffer): Buffer {
  const page = Buffer.alloc(zeroPage.length)
  id.copy(page)
  return page
}

/** How many ids of a leaf page stand for data. */
export function usedIn(page: Buffer): number {
  let used = 0
  for (let index = 0; index < fanOut; index++) if (!isZeroId(childOf(page, index))) used++
  return used
}

/** How many blocks under a page hold data. */
export async function usedUnder(tree: Tree, level: number, position: number): Promise<number> {
  if (isZeroId(await tree.idAt(level, position))) return 0
  const page = await tree.pageAt(level, position)
  if (level === 1) return usedIn(page)
  let used = 0
  for (let index = 0; index < fanOut; index++) used += await usedUnder(tree, level - 1, position * fanOut + index)
  return used
}
