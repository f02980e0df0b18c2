import { describe, expect, test } from 'vitest'
import { blankImage } from './blank.ts'
import { readHeader } from './header.ts'

const GiB = 1024 ** 3
const image = (backing: string | null = null): Buffer => Buffer.from(blankImage(GiB, backing).bytes.subarray(0, 65_536))
const crafted = (craft: (bytes: Buffer) => void): Buffer => {
  const bytes = image()
  craft(bytes)
  return bytes
}
/** Puts extensions behind the header, as a hostile writer would: nothing checks them but the reader. */
const withExtension = (kind: number, data: string, length = data.length): Buffer =>
  crafted((bytes) => {
    bytes.writeUInt32BE(kind, 112)
    bytes.writeUInt32BE(length, 116)
    bytes.write(data, 120)
  })

describe('reading a qcow2 header', () => {
  test('finds size, clusters and that nothing else is named', () => {
    expect(readHeader(image())).toEqual({
      version: 3,
      clusterBits: 16,
      sizeBytes: GiB,
      backingFile: null,
      backingFormat: null,
      externalData: false,
      encrypted: false,
      corrupt: false,
      unknownFeatures: 0n,
      l1Entries: 2,
      l1Offset: 3 * 65_536,
    })
  })

  test('finds a backing file and its format', () => {
    expect(readHeader(image('/etc/shadow'))).toMatchObject({ backingFile: '/etc/shadow', backingFormat: 'qcow2' })
  })

  test.each([
    ['an external data file by its feature bit', crafted((b) => b.writeBigUInt64BE(4n, 72)), { externalData: true }],
    ['an external data file by its name alone', withExtension(0x44415441, '/etc/shadow'), { externalData: true }],
    ['a backing format without a backing file', withExtension(0xe2792aca, 'raw'), { backingFormat: 'raw' }],
    ['encryption', crafted((b) => b.writeUInt32BE(2, 32)), { encrypted: true }],
    ['the corrupt bit', crafted((b) => b.writeBigUInt64BE(2n, 72)), { corrupt: true }],
    ['a feature of the future', crafted((b) => b.writeBigUInt64BE(1n << 40n, 72)), { unknownFeatures: 1n << 40n }],
    ['no features in version 2', crafted((b) => b.writeUInt32BE(2, 4)), { version: 2, unknownFeatures: 0n }],
  ])('finds %s', (_case, bytes, found) => {
    expect(readHeader(bytes)).toMatchObject(found)
  })

  test.each([
    ['another magic', crafted((b) => b.write('QED\0', 0))],
    ['version 4', crafted((b) => b.writeUInt32BE(4, 4))],
    ['an empty file', Buffer.alloc(0)],
    ['a file that ends within the header', image().subarray(0, 80)],
    ['clusters of 2^40 bytes', crafted((b) => b.writeUInt32BE(40, 20))],
    ['a size of 2^63', crafted((b) => b.writeBigUInt64BE(1n << 63n, 24))],
    ['a header length of 2^32 - 1', crafted((b) => b.writeUInt32BE(0xffffffff, 100))],
    ['a header length of 0', crafted((b) => b.writeUInt32BE(0, 100))],
    ['an extension that reaches beyond the cluster', withExtension(0x12345678, 'x', 0xfffffff0)],
    ['a backing name that lies outside', crafted((b) => b.writeBigUInt64BE(1n << 40n, 8))],
    ['a backing name longer than any', crafted((b) => b.writeBigUInt64BE(200n, 8) && b.writeUInt32BE(5000, 16))],
  ])('refuses %s', (_case, bytes) => {
    expect(readHeader(bytes)).toHaveProperty('problem')
  })
})
