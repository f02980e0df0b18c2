import { expect, test } from 'vitest'
import { iso9660 } from './iso9660.ts'

const sector = 2048

/** Reads it as a system does: from the descriptor through the directories, by the numbers of either byte order. */
function read(image: Buffer, order: 'LE' | 'BE'): { label: string; files: Record<string, string> } {
  const number = (at: number): number => (order === 'LE' ? image.readUInt32LE(at) : image.readUInt32BE(at + 4))
  const files: Record<string, string> = {}
  const walk = (extent: number, size: number, path: string): void => {
    for (let at = extent * sector; at < extent * sector + size && image[at] !== 0; at += image[at] ?? 0) {
      const name = image.toString('latin1', at + 33, at + 33 + (image[at + 32] ?? 0))
      const [inner, bytes] = [number(at + 2), number(at + 10)]
      if (name === '\0' || name === '\x01') continue
      if (image[at + 25] === 2) walk(inner, bytes, `${path}${name}/`)
      else files[`${path}${name}`] = image.toString('utf8', inner * sector, inner * sector + bytes)
    }
  }
  const descriptor = 16 * sector
  expect(image.toString('latin1', descriptor, descriptor + 7)).toBe('\x01CD001\x01')
  expect(number(descriptor + 80) * sector).toBe(image.length)
  walk(number(descriptor + 156 + 2), number(descriptor + 156 + 10), '/')
  return { label: image.toString('latin1', descriptor + 40, descriptor + 72).trimEnd(), files }
}

const large = 'x'.repeat(5000)
const image = iso9660('config-2', [
  { path: 'openstack/latest/user_data', content: Buffer.from(large) },
  { path: 'openstack/latest/meta_data.json', content: Buffer.from('{}') },
  { path: 'openstack/content/0000', content: Buffer.alloc(0) },
  { path: 'readme.txt', content: Buffer.from('é') },
])

test.each(['LE', 'BE'] as const)('its files are found again, whichever byte order is read (%s)', (order) => {
  expect(read(image, order)).toEqual({
    label: 'config-2',
    files: {
      '/OPENSTACK/CONTENT/0000.;1': '',
      '/OPENSTACK/LATEST/META_DATA.JSON;1': '{}',
      '/OPENSTACK/LATEST/USER_DATA.;1': large,
      '/README.TXT;1': 'é',
    },
  })
})

test('equal files give equal images, in whatever order they come', () => {
  const [a, b] = [
    { path: 'a/b', content: Buffer.from('1') },
    { path: 'a/c', content: Buffer.from('2') },
  ] as const
  expect(iso9660('x', [a, b]).equals(iso9660('x', [b, a]))).toBe(true)
})

test('a folder that does not fit is refused', () => {
  const many = Array.from({ length: 60 }, (_, at) => ({ path: `a/${at}`, content: Buffer.alloc(0) }))
  expect(() => iso9660('x', many)).toThrow('too many files')
})
