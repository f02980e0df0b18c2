import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { lastWords } from './last-words.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'comeback-words-'))
})
afterAll(() => rm(folder, { recursive: true }))

async function of(...lines: string[]): Promise<string | null> {
  const file = join(folder, 'a.log')
  await writeFile(file, lines.map((line) => `${line}\n`).join(''))
  return await lastWords(file)
}
const line = (level: number, message: string) => JSON.stringify({ level, err: { type: 'Refusal', message }, msg: 'x' })

test('the sentence of the last fatal line, and of an error that Node itself printed', async () => {
  expect(await of(line(60, 'first'), line(60, 'the last'), line(50, 'passing'), '')).toBe('the last')
  expect(await of('file:///x.ts:3', '    throw new Error("a")', '', 'RangeError [ERR_X]: what it was', '    at x')).toBe(
    'what it was',
  )
  expect(await of(`${'x'.repeat(200_000)}`, line(60, 'at the end of a long log'))).toBe('at the end of a long log')
})

test('nothing was said', async () => {
  expect(await of(line(30, 'all well'))).toBeNull()
  expect(await lastWords(join(folder, 'not there'))).toBeNull()
})
