import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { newId, type OperationId } from '../domain/ids.ts'
import { Fences } from './fences.ts'

let folder: string
let fences: Fences
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'comeback-fences-'))
  fences = await Fences.open(join(folder, 'epochs'))
})
afterEach(async () => {
  await fences.close()
  await rm(folder, { recursive: true })
})

const fence = (epoch: number) => ({ resource: 'instance:a', epoch, operation: newId<OperationId>() })
const listening = new AbortController().signal

/** A call that goes on until told, whatever its caller does. */
function call(epoch: number, hungUp: AbortSignal) {
  const told = Promise.withResolvers<void>()
  const begun = Promise.withResolvers<AbortSignal>()
  const over = fences.admit(fence(epoch), hungUp, async (signal) => {
    begun.resolve(signal)
    await told.promise
  })
  return { begun: begun.promise, over, end: told.resolve }
}

test('an older owner is refused, also after the agent was started again', async () => {
  await fences.admit(fence(7), listening, async () => undefined)
  await expect(fences.admit(fence(6), listening, async () => 'done')).rejects.toMatchObject({ code: 'staleEpoch' })
  await fences.close()
  fences = await Fences.open(join(folder, 'epochs'))
  await expect(fences.admit(fence(6), listening, async () => 'done')).rejects.toMatchObject({ code: 'staleEpoch' })
  expect(await fences.admit(fence(7), listening, async () => 'done')).toBe('done')
})

test('a newer owner ends and awaits what the older one has under way', async () => {
  const older = call(1, listening)
  const signal = await older.begun
  const order: string[] = []
  void older.over.then(() => order.push('older'))
  const newer = fences.admit(fence(2), listening, async () => void order.push('newer'))
  await new Promise((resolve) => signal.addEventListener('abort', resolve))
  older.end()
  await newer
  expect(order).toEqual(['older', 'newer'])
})

test.each(['another call', 'a look'])('%s waits for what its owner asked for before and hung up on', async (what) => {
  const caller = new AbortController()
  const before = call(3, caller.signal)
  await before.begun
  caller.abort()
  const order: string[] = []
  void before.over.then(() => order.push('before'))
  const next =
    what === 'a look'
      ? fences.abandonedEnd(fence(3)).then(() => void order.push('next'))
      : fences.admit(fence(3), listening, async () => void order.push('next'))
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect(order).toEqual([])
  before.end()
  await next
  expect(order).toEqual(['before', 'next'])
})

test('calls of one owner who listens run at once', async () => {
  const one = call(4, listening)
  await one.begun
  expect(await fences.admit(fence(4), listening, async () => 'done')).toBe('done')
  one.end()
  await one.over
})
