import { expect, test } from 'vitest'
import { patched } from './patch.ts'

const fields = {
  name: 'a',
  visibility: 'shared',
  container_format: null,
  disk_format: null,
  min_disk_gib: 0,
  min_ram_mib: 0,
  protected: false,
  os_hidden: false,
  tags: [],
  properties: { 'with/slash': '1' },
} as const

test('names are unescaped as JSON pointers are', () => {
  expect(patched(fields, [{ op: 'remove', path: '/with~1slash' }]).properties).toEqual({})
})

test('later operations see what earlier ones did', () => {
  const after = patched(fields, [
    { op: 'add', path: '/color', value: 'blue' },
    { op: 'replace', path: '/color', value: 'red' },
    { op: 'replace', path: '/min_disk', value: 3 },
  ])
  expect(after).toMatchObject({ min_disk_gib: 3, properties: { color: 'red', 'with/slash': '1' } })
})

test('a name cannot reach beyond the properties', () => {
  expect(patched(fields, [{ op: 'add', path: '/constructor', value: 'x' }]).properties).toMatchObject({ constructor: 'x' })
  expect(() => patched(fields, [{ op: 'replace', path: '/toString', value: 'x' }])).toThrow('There is no property')
})
