/** bootstrap.mjs in a project of its own that has nothing to download: when it installs, when not, and what it says. */
import { execFile } from 'node:child_process'
import { copyFile, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'

let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'comeback-bootstrap-'))
  await copyFile(new URL('../../bootstrap.mjs', import.meta.url), join(folder, 'bootstrap.mjs'))
  const nothing = { name: 'x', version: '1.0.0', lockfileVersion: 3, packages: { '': { name: 'x', version: '1.0.0' } } }
  await writeFile(join(folder, 'package.json'), '{"name":"x","version":"1.0.0","type":"module"}')
  await writeFile(join(folder, 'package-lock.json'), JSON.stringify(nothing))
  await writeFile(
    join(folder, 'hello.ts'),
    'const words: string[] = process.argv.slice(2)\nconsole.log(JSON.stringify(words))\nprocess.exitCode = words.length\n',
  )
})
afterEach(() => rm(folder, { recursive: true, force: true }))

function bootstrap(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const { npm_execpath: _, ...env } = process.env
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [join(folder, 'bootstrap.mjs'), ...args],
      { cwd: tmpdir(), env, timeout: 60_000 },
      (error, out, err) => resolve({ code: error === null ? 0 : Number(error.code), out, err }),
    )
  })
}

test('installs once, keeps stdout for the program, and passes arguments and exit code on', async () => {
  const first = await bootstrap('hello.ts', '--json', 'a b')
  expect(first).toMatchObject({ code: 2, out: '["--json","a b"]\n' })
  expect(first.err).toContain('Installing the packages')
  expect(await bootstrap('hello.ts')).toEqual({ code: 0, out: '[]\n', err: '' })
})

test('installs again when the lock file has changed', async () => {
  await bootstrap('hello.ts')
  await writeFile(join(folder, 'package-lock.json'), `${await readFile(join(folder, 'package-lock.json'), 'utf8')}\n`)
  expect((await bootstrap('hello.ts')).err).toContain('Installing the packages')
})

test('two at once install once', async () => {
  const both = await Promise.all([bootstrap('hello.ts'), bootstrap('hello.ts')])
  expect(both.map(({ out }) => out)).toEqual(['[]\n', '[]\n'])
  expect(both.filter(({ err }) => err.includes('Installed the packages'))).toHaveLength(1)
})

test('a lock whose owner is dead is taken over', async () => {
  await mkdir(join(folder, '.cache/bootstrap.lock'), { recursive: true })
  await writeFile(join(folder, '.cache/bootstrap.lock/owner'), '999999 123')
  expect(await bootstrap('hello.ts')).toMatchObject({ code: 0, out: '[]\n' })
  await expect(stat(join(folder, '.cache/bootstrap.lock'))).rejects.toThrow('ENOENT')
})

test('says in a sentence that the installation failed', async () => {
  await writeFile(join(folder, 'package-lock.json'), '{')
  const { code, err } = await bootstrap('hello.ts')
  expect(code).toBe(1)
  expect(err).toMatch(/The packages of package-lock\.json could not be installed: npm ci failed in .*\n$/)
})

test('leaves a linked node_modules to whoever keeps it', async () => {
  await symlink(tmpdir(), join(folder, 'node_modules'))
  expect(await bootstrap('hello.ts')).toEqual({ code: 0, out: '[]\n', err: '' })
})
