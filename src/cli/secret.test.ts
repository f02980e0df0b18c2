import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { madeInto, readSecret } from './secret.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'secret-'))
})
afterAll(() => rm(folder, { recursive: true }))

function terminalOf({ isTTY, input }: { isTTY: boolean; input?: string }) {
  const [out, err, keyboard] = [new PassThrough(), new PassThrough(), Object.assign(new PassThrough(), { isTTY })]
  if (input !== undefined) keyboard.end(input)
  return { out, err, in: keyboard, env: {}, interrupted: new AbortController().signal }
}

test('typed on a terminal it is asked for and never shown', async () => {
  const terminal = terminalOf({ isTTY: true })
  terminal.err.once('data', () => terminal.in.write('KEY-ONE \n'))
  expect(await readSecret(terminal, 'recovery key', undefined)).toBe('KEY-ONE')
  const shown = String(terminal.err.read() ?? '') + String(terminal.out.read() ?? '')
  expect(shown).not.toContain('KEY')
})

test('else it comes from standard input, also where a terminal is there but a dash says so, or from a file', async () => {
  expect(await readSecret(terminalOf({ isTTY: false, input: 'KEY-TWO\n' }), 'recovery key', undefined)).toBe('KEY-TWO')
  expect(await readSecret(terminalOf({ isTTY: true, input: 'KEY-THREE\n' }), 'recovery key', '-')).toBe('KEY-THREE')
  const file = join(folder, 'key')
  await writeFile(file, 'KEY-FOUR\n')
  expect(await readSecret(terminalOf({ isTTY: true }), 'recovery key', file)).toBe('KEY-FOUR')
})

test('nothing is said so, and what is endless is not read to its end', async () => {
  await expect(readSecret(terminalOf({ isTTY: false, input: '\n' }), 'recovery key', undefined)).rejects.toThrow(
    'No recovery key was given.',
  )
  const endless = terminalOf({ isTTY: false })
  endless.in.write('x'.repeat(100_000))
  expect((await readSecret(endless, 'recovery key', undefined)).length).toBeLessThanOrEqual(100_000)
  const big = join(folder, 'big')
  await writeFile(big, 'y'.repeat(100_000))
  expect((await readSecret(terminalOf({ isTTY: false }), 'recovery key', big)).length).toBe(4096)
})

test('into a file that only its owner reads, that was not there before, and that is not left behind empty', async () => {
  const file = join(folder, 'new')
  await madeInto(
    file,
    ({ key }) => key,
    async () => ({ key: 'MADE' }),
  )
  expect(await readFile(file, 'utf8')).toBe('MADE\n')
  expect((await stat(file)).mode & 0o777).toBe(0o600)
  const make = async () => {
    throw new Error('refused')
  }
  await expect(madeInto(file, String, make)).rejects.toThrow(/new cannot be made \(EEXIST\)/)
  expect(await readFile(file, 'utf8')).toBe('MADE\n')
  const other = join(folder, 'other')
  await expect(madeInto(other, String, make)).rejects.toThrow('refused')
  await expect(stat(other)).rejects.toThrow('ENOENT')
})
