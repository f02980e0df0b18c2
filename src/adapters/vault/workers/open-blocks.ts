import type { Place } from '../index/locator.ts'
import type { OpenJob, SealedBlock } from './jobs.ts'

/** The job of opening blocks: each lies at `at` of one of the pieces that were read. */
export function openJob(
  places: readonly (Pick<Place, 'id' | 'codec' | 'number' | 'length' | 'packKey'> & {
    readonly piece: number
    readonly at: number
  })[],
  sealed: readonly Uint8Array<ArrayBuffer>[],
  hashKey: Uint8Array,
): OpenJob {
  const packKeys: Uint8Array[] = []
  const ids = new Uint8Array(places.reduce((sum, { id }) => sum + id.length, 0))
  const blocks = places.map(({ id, codec, number, length, packKey, piece, at }, block): SealedBlock => {
    if (!packKeys.includes(packKey)) packKeys.push(packKey)
    ids.set(id, block * id.length)
    return { piece, at, length, pack: packKeys.indexOf(packKey), number, codec }
  })
  return { sealed, packKeys, ids, blocks, hashKey }
}

/** The bytes in memory of their own: they are going to be handed to another thread. */
export function ownBytes(bytes: Buffer): Uint8Array<ArrayBuffer> {
  const { buffer } = bytes
  if (buffer instanceof ArrayBuffer && bytes.length === buffer.byteLength) return new Uint8Array(buffer)
  return new Uint8Array(bytes)
}
