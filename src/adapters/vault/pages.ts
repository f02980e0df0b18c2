/** Reads single blobs: the pages of trees. */

import { openBlob } from './format/blob.ts'
import { Damaged } from './format/damage.ts'
import { depthOf } from './format/shape.ts'
import type { Locator } from './index/locator.ts'
import { Tree } from './tree/tree.ts'
import type { Manifest, VolumeVault } from './volume.ts'

/** The tree of a backup; its pages are proved as they are read. Throws `Damaged`. */
export function treeOf(volume: VolumeVault, locator: Locator, { of, root, sizeBytes }: Manifest): Tree {
  const hashKey = volume.keys.ofHashes(of.project)
  const read = async (id: Buffer, level: number): Promise<Buffer> => {
    const place = await locator.find(id)
    const sealed = await volume.store.read(place.pack, { offset: place.offset, length: place.length })
    const page = sealed === null || place.level !== level ? null : openBlob(place.packKey, hashKey, place, sealed)
    if (page === null) throw new Damaged(place.pack, `page ${id.toString('hex')} is damaged`, id)
    return page
  }
  return new Tree(read, Buffer.from(root, 'hex'), depthOf(sizeBytes))
}
