import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { z } from 'zod'

export type Tally = { readonly passed: number; readonly failed: readonly string[]; readonly skipped: readonly string[] }

export const root = new URL('../../', import.meta.url).pathname
const modules = join(root, 'node_modules')

/** Runs a tool of node_modules under this Node, its words going straight to the terminal. */
async function tool(command: readonly string[]): Promise<number> {
  const [program = '', ...args] = command
  const path = [join(process.execPath, '..'), join(modules, '.bin'), process.env['PATH']].join(delimiter)
  const child = spawn(process.execPath, [join(modules, program), ...args], {
    cwd: root,
    env: { ...process.env, PATH: path },
    stdio: 'inherit',
  })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => child.kill(signal))
  const [code] = await once(child, 'exit')
  return typeof code === 'number' ? code : 1
}

export async function check(name: string, command: readonly string[]): Promise<Tally> {
  const began = performance.now()
  const code = await tool(command)
  console.log(`${code === 0 ? '✓' : '✗'} ${name} ${((performance.now() - began) / 1000).toFixed(1)} s`)
  return code === 0 ? { passed: 1, failed: [], skipped: [] } : { passed: 0, failed: [name], skipped: [] }
}

const report = z.object({
  testResults: z.array(
    z.object({
      name: z.string(),
      status: z.string(),
      message: z.string().optional(),
      assertionResults: z.array(z.object({ fullName: z.string(), status: z.string() })),
    }),
  ),
})

/** Runs the vitest projects of these names. A file that could not even be loaded counts as one failure. */
export async function tests(groups: readonly string[], filters: readonly string[]): Promise<Tally> {
  if (groups.length === 0) return { passed: 0, failed: [], skipped: [] }
  const folder = await mkdtemp(join(tmpdir(), 'comeback-report-'))
  try {
    const file = join(folder, 'report.json')
    const projects = groups.flatMap((name) => ['--project', name])
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${file}`]
    const code = await tool(['vitest/vitest.mjs', 'run', ...projects, ...reporters, '--passWithNoTests', ...filters])
    const text = await readFile(file, 'utf8').catch(() => null)
    const tally = text === null ? nothing : tallyOf(text)
    return code !== 0 && tally.failed.length === 0
      ? { ...tally, failed: [`${groups.join(', ')}: vitest ended with code ${code}`] }
      : tally
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

const nothing: Tally = { passed: 0, failed: [], skipped: [] }

export function tallyOf(json: string): Tally {
  const files = report.parse(JSON.parse(json)).testResults
  const each = files.flatMap(({ name, assertionResults }) =>
    assertionResults.map((one) => ({ ...one, file: name.replace(root, '') })),
  )
  const named = (states: readonly string[]) =>
    each.filter(({ status }) => states.includes(status)).map(({ file, fullName }) => `${file}: ${fullName}`)
  const unloaded = files.filter(
    ({ status, assertionResults }) => status === 'failed' && !assertionResults.some((one) => one.status === 'failed'),
  )
  return {
    passed: named(['passed']).length,
    failed: [...named(['failed']), ...unloaded.map(({ name }) => `${name.replace(root, '')}: could not be run`)],
    skipped: named(['pending', 'skipped', 'todo', 'disabled']),
  }
}

export const sum = (tallies: readonly Tally[]): Tally => ({
  passed: tallies.reduce((total, { passed }) => total + passed, 0),
  failed: tallies.flatMap(({ failed }) => failed),
  skipped: tallies.flatMap(({ skipped }) => skipped),
})
