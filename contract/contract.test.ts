import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { kindOf } from '../src/domain/refusals.ts'
import type { Endpoint } from './endpoint.ts'
import { statusOf } from './errors.ts'
import { endpoints } from './index.ts'
import { openApi } from './openapi.ts'
import { name } from './words.ts'

const all = Object.entries<Endpoint>(endpoints)

test('the committed OpenAPI page is the one the endpoints make (else: node contract/openapi.ts)', async () => {
  const committed: unknown = JSON.parse(await readFile(new URL('openapi.json', import.meta.url), 'utf8'))
  expect(JSON.parse(JSON.stringify(openApi()))).toEqual(committed)
})

test('every reference in it leads somewhere', () => {
  const page = openApi() as { components: { schemas: Record<string, unknown> } }
  const referred = [...JSON.stringify(page).matchAll(/"#\/components\/schemas\/(\w+)"/g)].map(([, name]) => name)
  expect(referred.length).toBeGreaterThan(20)
  for (const name of referred) expect(Object.keys(page.components.schemas)).toContain(name)
  expect(JSON.stringify(page)).not.toContain('$defs')
})

test('endpoints are named by their ids, at paths of their own, with the parameters their paths name', () => {
  for (const [key, { id, path, params }] of all) {
    expect(id).toBe(key)
    const named = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name)
    expect(Object.keys((params as unknown as { shape: object }).shape)).toEqual(named)
  }
  const places = all.map(([, { method, path }]) => `${method} ${path}`)
  expect(new Set(places).size).toBe(places.length)
})

test('every refusal an endpoint names has a status', () => {
  for (const [, { refusals }] of all) for (const code of refusals) expect(statusOf[kindOf(code)]).toBeGreaterThanOrEqual(400)
})

test('names that would steer a terminal or a page are refused, those of all languages are not', () => {
  for (const bad of ['', '   ', 'a\nb', '\u001b[31mred', '<b>bold</b>', 'a\u202eb', 'x'.repeat(256)]) {
    expect(name.safeParse(bad).success, JSON.stringify(bad)).toBe(false)
  }
  for (const good of ['a', 'db & web', 'Größe Ω 数据', '👩‍💻', 'x'.repeat(255)]) {
    expect(name.safeParse(good).success, good).toBe(true)
  }
})
