/** The contract of `VaultStore`, for every kind of store. */
import { randomBytes } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { VaultStore } from '../../src/ports/vault-store.ts'

export type StoreFixture = {
  readonly store: VaultStore
  /** Another one on the same objects. */
  another(): Promise<VaultStore>
  end(): Promise<void>
}

async function listed(store: VaultStore, prefix: string): Promise<Readonly<Record<string, number>>> {
  const found: Record<string, number> = {}
  for await (const { name, sizeBytes } of store.list(prefix)) found[name] = sizeBytes
  return found
}

/** `make`: a store with nothing in it but the vault's identity, `vault.json`, of two bytes. */
export function vaultStoreConformance(kind: string, make: () => Promise<StoreFixture>): void {
  describe(`${kind} store`, () => {
    let fixture: StoreFixture
    let store: VaultStore
    beforeEach(async () => {
      fixture = await make()
      store = fixture.store
    })
    afterEach(() => fixture.end())

    test('what was put is read, whole and in parts, by another one too', async () => {
      const bytes = randomBytes(3_000_000)
      await store.put('a/b/c.pack', [bytes.subarray(0, 7), bytes.subarray(7, 7), bytes.subarray(7)])
      for (const reader of [store, await fixture.another()]) {
        expect((await reader.read('a/b/c.pack'))?.equals(bytes)).toBe(true)
        const part = await reader.read('a/b/c.pack', { offset: 1_000_001, length: 99_999 })
        expect(part?.equals(bytes.subarray(1_000_001, 1_100_000))).toBe(true)
      }
    })

    test('at its end fewer bytes are given than were asked for, and a negative offset counts from there', async () => {
      await store.put('x', [Buffer.from('0123456789')])
      const text = async (offset: number, length: number) => (await store.read('x', { offset, length }))?.toString()
      expect(await text(8, 5)).toBe('89')
      expect(await text(10, 5)).toBe('')
      expect(await text(-4, 2)).toBe('67')
      expect(await text(-4, 100)).toBe('6789')
      expect(await text(-40, 100)).toBe('0123456789')
    })

    test('an empty object is an object', async () => {
      await store.put('nothing', [])
      expect((await store.read('nothing'))?.length).toBe(0)
      expect((await store.read('nothing', { offset: -10, length: 10 }))?.length).toBe(0)
      expect(await listed(store, '')).toEqual({ 'vault.json': 2, nothing: 0 })
    })

    test('what is not there reads as null and is removed without complaint', async () => {
      expect(await store.read('no/such')).toBeNull()
      expect(await store.read('no/such', { offset: -5, length: 5 })).toBeNull()
      await store.remove('no/such')
      await store.put('a/b', [Buffer.from('1')])
      await store.remove('a/b')
      await store.remove('a/b')
      expect(await store.read('a/b')).toBeNull()
      expect(await listed(store, '')).toEqual({ 'vault.json': 2 })
    })

    test('objects are listed under whole parts of their names, with their sizes', async () => {
      await store.put('v/one/a', [Buffer.from('1')])
      await store.put('v/one/b.c', [Buffer.from('22')])
      await store.put('v/oneself', [Buffer.from('333')])
      await store.put('v/two/deep/er', [Buffer.from('4444')])
      expect(await listed(store, 'v/one')).toEqual({ 'v/one/a': 1, 'v/one/b.c': 2 })
      expect(await listed(store, 'v/two')).toEqual({ 'v/two/deep/er': 4 })
      expect(await listed(store, 'v/three')).toEqual({})
      expect(Object.keys(await listed(store, '')).length).toBe(5)
    })

    test('an object that is being written is seen only when it is whole', async () => {
      let goOn: () => void = () => undefined
      const waits = new Promise<void>((resolve) => {
        goOn = resolve
      })
      let hasBegun: () => void = () => undefined
      const begun = new Promise<void>((resolve) => {
        hasBegun = resolve
      })
      async function* slowly() {
        yield Buffer.alloc(2_000_000, 1)
        hasBegun()
        await waits
        yield Buffer.from('end')
      }
      const put = store.put('slow', slowly())
      await begun
      expect(await store.read('slow')).toBeNull()
      expect(await listed(store, '')).toEqual({ 'vault.json': 2 })
      goOn()
      await put
      expect(await listed(store, '')).toEqual({ 'vault.json': 2, slow: 2_000_003 })
    })

    test('an object whose source fails is not there', async () => {
      async function* failing() {
        yield Buffer.alloc(100)
        throw new Error('no more')
      }
      await expect(store.put('half', failing())).rejects.toThrow('no more')
      expect(await store.read('half')).toBeNull()
      expect(await listed(store, '')).toEqual({ 'vault.json': 2 })
    })

    test('a replaced object is the one or the other for whoever reads it', async () => {
      const one = Buffer.alloc(50_000, 'a')
      const other = Buffer.alloc(70_000, 'b')
      await store.replace('state', one)
      const reads = Array.from({ length: 40 }, () => store.read('state'))
      await store.replace('state', other)
      for (const read of await Promise.all(reads)) expect(read?.equals(one) === true || read?.equals(other) === true).toBe(true)
      expect((await store.read('state'))?.equals(other)).toBe(true)
    })

    test('many objects in one folder are written at once', async () => {
      await Promise.all(Array.from({ length: 20 }, (_, number) => store.put(`many/deep/${number}`, [randomBytes(1000)])))
      expect(Object.keys(await listed(store, 'many')).length).toBe(20)
    })

    test('free space is a number, or cannot be told', async () => {
      const free = await store.freeBytes()
      expect(free === null || free > 0).toBe(true)
    })

    test.each(['', '/a', 'a/', 'a//b', '../a', 'a/../b', '.a', 'a/.b', 'ä'])('%j is no name', async (name) => {
      await expect(store.put(name, [])).rejects.toThrow()
      await expect(store.read(name)).rejects.toThrow()
    })
  })
}
