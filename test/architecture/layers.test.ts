/** Keeps imports flowing one way. To see the architecture, read this table. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize, relative } from 'node:path'
import { expect, test } from 'vitest'

const mayImport: Readonly<Record<string, readonly string[]>> = {
  domain: [],
  ports: ['domain'],
  sagas: ['domain', 'ports', 'failpoints'],
  app: ['domain', 'ports', 'sagas', 'failpoints'],
  contract: ['domain'],
  api: ['domain', 'ports', 'app', 'contract'],
  adapters: ['domain', 'ports', 'sagas/engine', 'agent/protocol', 'failpoints'],
  agent: ['domain', 'ports', 'adapters/storage', 'adapters/vault', 'config', 'failpoints'],
  // `vault extract` needs no controller.
  cli: ['domain', 'contract', 'config', 'adapters/vault'],
  // A lost password is set without the API that it would open.
  launcher: ['domain', 'ports', 'adapters', 'agent/protocol', 'config', 'contract', 'app/identity'],
  // Composition: `main.ts` puts the controller together; nothing imports it.
  main: ['domain', 'ports', 'sagas', 'app', 'api', 'adapters', 'config', 'failpoints', 'contract'],
  config: [],
  failpoints: [],
}

const root = new URL('../../', import.meta.url).pathname
const isSource = (file: string) => file.endsWith('.ts') && !file.endsWith('.test.ts')
const under = (folder: string) =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter(isSource)
    .map((file) => join(folder, file))

const sources = [...under('src'), ...under('contract')]
const text = new Map(sources.map((file) => [file, readFileSync(join(root, file), 'utf8')]))

/** `src/app/x/y.ts` → `app/x/y`; `contract/x.ts` → `contract/x`. */
const nameOf = (file: string): string => file.replace(/^src\//, '').replace(/\.ts$/, '')
const layerOf = (file: string): string => nameOf(file).split('/')[0] ?? ''

function importsOf(file: string): string[] {
  const found = (text.get(file) ?? '').matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)
  return [...found].map(([, target]) => normalize(join(dirname(file), target ?? '')))
}

const allows = (layer: string, target: string): boolean =>
  layerOf(target) === layer ||
  (mayImport[layer] ?? []).some((may) => nameOf(target) === may || nameOf(target).startsWith(`${may}/`))

test('every import goes the way of the table', () => {
  const wrong = sources.flatMap((file) =>
    importsOf(file)
      .filter((target) => !allows(layerOf(file), target))
      .map((target) => `${file} imports ${target}`),
  )
  expect(wrong).toEqual([])
})

test('faces do not know each other', () => {
  const faceOf = (file: string) => /^src\/api\/(openstack\/[^/]+|native)\//.exec(file)?.[1]
  const wrong = sources.flatMap((file) =>
    importsOf(file)
      .filter(
        (target) =>
          faceOf(file) &&
          faceOf(target) &&
          faceOf(file) !== faceOf(target) &&
          !/openstack\/(common|shared|wire)\//.test(target),
      )
      .map((target) => `${file} imports ${target}`),
  )
  expect(wrong).toEqual([])
})

test('there is no import cycle', () => {
  expect(cyclesOf(new Map(sources.map((file) => [file, importsOf(file)])))).toEqual([])
})

test('what is imported exists, so that nothing above was overlooked', () => {
  const known = new Set(sources)
  expect(sources.flatMap(importsOf).filter((target) => target.endsWith('.ts') && !known.has(target))).toEqual([])
  expect(sources.flatMap(importsOf).length).toBeGreaterThan(100)
})

test('files stay readable: median 80 lines, 95 % below 250, none over 400', () => {
  const tests = readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' }).map((file) => join('test', file))
  const unit = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }).map((file) => join('src', file))
  const all = [...new Set([...sources, ...[...tests, ...unit].filter((file) => file.endsWith('.ts'))])]
  const linesOf = (file: string) => readFileSync(join(root, file), 'utf8').split('\n').length - 1
  expect(
    all.filter((file) => linesOf(file) > 400).map((file) => `${relative(root, join(root, file))}: ${linesOf(file)}`),
  ).toEqual([])
  const sorted = sources.map(linesOf).sort((a, b) => a - b)
  expect(sorted[Math.floor(sorted.length / 2)]).toBeLessThanOrEqual(80)
  expect(sorted[Math.floor(sorted.length * 0.95)]).toBeLessThanOrEqual(250)
})

/** Depth first; a file that is met while it is still being looked into closes a cycle. */
function cyclesOf(graph: ReadonlyMap<string, readonly string[]>): string[] {
  const done = new Set<string>()
  const cycles: string[] = []
  const visit = (file: string, path: readonly string[]): void => {
    if (path.includes(file)) cycles.push([...path.slice(path.indexOf(file)), file].join(' → '))
    if (done.has(file) || path.includes(file)) return
    for (const target of graph.get(file) ?? []) visit(target, [...path, file])
    done.add(file)
  }
  for (const file of graph.keys()) visit(file, [])
  return cycles
}
