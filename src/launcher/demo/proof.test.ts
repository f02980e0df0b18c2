import { expect, test } from 'vitest'
import type { Shell } from '../guest/shell.ts'
import { type Chapter, doubts, read, write } from './proof.ts'

const disk = { files: 'bytes only-A token', token: 'A-1', sha256: 'f00' }
const a: Chapter = { name: 'A', boot: 'first', disks: { vda: disk, vdb: { ...disk, token: 'A-2' } } }
const again: Chapter = { ...a, boot: 'second' }

/** A guest that answers every line with the same words. */
const guest = (output: string): Shell => ({ ask: async () => ({ output, code: 0 }), run: async () => output })

test('the same words of a guest that was started anew leave no doubt', () => {
  expect(doubts(a, again, [a])).toEqual([])
})

test.each(['files', 'token', 'sha256'] as const)('other %s on either disk are a doubt', (fact) => {
  for (const device of ['vda', 'vdb'] as const) {
    const other = { ...again, disks: { ...again.disks, [device]: { ...again.disks[device], [fact]: 'other' } } }
    expect(doubts(a, other, [a])).toEqual([expect.stringMatching(new RegExp(`^${device}: its ${fact} read other`))])
  }
})

test('a guest that was not started anew proves nothing', () => {
  expect(doubts(a, a, [a])).toEqual(['the guest was not started anew, so it may have read its memory'])
})

test('a guest that did not write its token is found out at once', async () => {
  const words = ['bytes only-A token|stale|f00|262144', 'bytes only-A token|stale|f00|262144', 'boot'].join('\n')
  await expect(write(guest(words), 'A')).rejects.toThrow('the guest did not write what it was told on vda and vdb')
})

test('bytes that are too few, and words that make no sense, are no content', async () => {
  const short = ['x|t|f00|262144', 'x|t|f00|100', 'boot'].join('\n')
  expect((await read(guest(short), 'A')).disks.vdb.sha256).toBe('of 100 bytes')
  await expect(read(guest('sh: not found'), 'A')).rejects.toThrow('make no sense')
})
