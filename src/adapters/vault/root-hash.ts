import type { Bytes } from '../../domain/ids.ts'
import { nameContent } from './format/blob.ts'

/** No page has this level: what is hashed is no page. */
const rootLevel = 255

/** Over the whole content, its length included. */
export function rootHashOf(hashKey: Buffer, root: Buffer, sizeBytes: Bytes): string {
  const length = Buffer.alloc(8)
  length.writeBigUInt64BE(BigInt(sizeBytes))
  return nameContent(hashKey, rootLevel, Buffer.concat([root, length])).toString('hex')
}
