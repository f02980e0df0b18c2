import { expect, test } from 'vitest'
import { quietLog } from '../../../test/support/quiet-log.ts'
import type { Clock } from '../../ports/clock.ts'
import { runWatchers } from './loop.ts'

/** How long a watcher is left alone after each of its rounds. */
async function pausesOf(rounds: readonly ('ok' | 'soon' | 'fails')[], everyMs: number): Promise<number[]> {
  const pauses: number[] = []
  const stopping = new AbortController()
  const clock = {
    wait: async (ms: number) => {
      pauses.push(ms)
      if (pauses.length === rounds.length) stopping.abort()
    },
  } as unknown as Clock
  const look = async (_signal: AbortSignal, soon?: () => void) => {
    const round = rounds[pauses.length]
    if (round === 'fails') throw new Error('no')
    if (round === 'soon') soon?.()
  }
  await runWatchers([{ name: 'w', everyMs, look }], clock, quietLog(), stopping.signal)
  return pauses
}

test('a watcher that fails looks again soon, then less and less often; one that has more to do is not left waiting', async () => {
  expect(await pausesOf(['ok', 'fails', 'fails', 'fails', 'ok', 'fails'], 300)).toEqual([300, 100, 200, 300, 300, 100])
  expect(
    await pausesOf(
      Array.from({ length: 9 }, () => 'fails' as const),
      3_600_000,
    ),
  ).toEqual([100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000])
  expect(await pausesOf(['soon', 'ok', 'soon'], 10_000)).toEqual([1_000, 10_000, 1_000])
})
