import { setImmediate as breathe } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { Turns } from './turns.ts'

test('no more than so many run at once, in the order of asking; who is aborted while waiting never runs', async () => {
  const turns = new Turns(2)
  const [ends, ran]: [(() => void)[], number[]] = [[], []]
  const gone = new AbortController()
  const begin = (number: number, signal = new AbortController().signal): Promise<void> =>
    turns.run(() => {
      ran.push(number)
      return new Promise<void>((resolve) => ends.push(resolve))
    }, signal)
  const all = [begin(1), begin(2), begin(3), begin(4, gone.signal), begin(5)]
  await breathe()
  expect(ran).toEqual([1, 2])
  gone.abort(new Error('enough'))
  await expect(all[3]).rejects.toThrow('enough')
  ends.shift()?.()
  await breathe()
  expect(ran).toEqual([1, 2, 3])
  ends.shift()?.()
  await breathe()
  expect(ran).toEqual([1, 2, 3, 5])
  for (const end of ends) end()
  await Promise.all([all[0], all[1], all[2], all[4]])
})

test('work that fails gives its turn away', async () => {
  const turns = new Turns(1)
  const signal = new AbortController().signal
  await expect(turns.run(() => Promise.reject(new Error('no')), signal)).rejects.toThrow('no')
  expect(await turns.run(async () => 7, signal)).toBe(7)
})
