/** The power of a vault's file system is cut after every call of the store that returned; what it acknowledged is all there. */
import { randomBytes } from 'node:crypto'
import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { DirectoryStore } from '../../src/adapters/vault/directory/store.ts'
import { FragileDisk, whyNoPowerCut } from '../support/fragile-disk.ts'

const whyNot = whyNoPowerCut()

describe.skipIf(whyNot !== null)(`a vault after a power cut${whyNot === null ? '' : ` (left out: ${whyNot})`}`, () => {
  let disk: FragileDisk
  let directory: string
  beforeEach(async () => {
    disk = await FragileDisk.make(256 * 1024 ** 2)
    directory = join(disk.mountpoint, 'vault')
    await mkdir(directory)
    const store = await DirectoryStore.open(directory, 'v')
    await store.put('vault.json', [Buffer.from('{}')])
    // The directory itself was made by whoever made the vault's place.
    await store.close()
  })
  afterEach(() => disk.end())

  /** The work is done, the power goes, and another store looks. */
  async function afterCut<Result>(work: (store: DirectoryStore) => Promise<Result>): Promise<DirectoryStore> {
    const store = await DirectoryStore.open(directory, 'v')
    try {
      await work(store)
    } finally {
      await store.close()
    }
    await disk.losePower()
    return DirectoryStore.open(directory, 'v')
  }

  test('an object is there, whole, in folders that were made for it', async () => {
    const bytes = randomBytes(5_000_000)
    const store = await afterCut((before) => before.put('volumes/one/packs/a.pack', [bytes]))
    expect((await store.read('volumes/one/packs/a.pack'))?.equals(bytes)).toBe(true)
    await store.close()
  })

  test('many at once are there, in folders that each of them made', async () => {
    const objects = Array.from({ length: 12 }, (_, number) => [`v/${number % 3}/deep/${number}`, randomBytes(100_000)] as const)
    const store = await afterCut((before) => Promise.all(objects.map(([name, bytes]) => before.put(name, [bytes]))))
    for (const [name, bytes] of objects) expect((await store.read(name))?.equals(bytes)).toBe(true)
    await store.close()
  })

  test('a replaced object is the new one', async () => {
    const store = await afterCut(async (before) => {
      await before.replace('state', Buffer.from('old'))
      await before.replace('state', Buffer.from('new'))
    })
    expect((await store.read('state'))?.toString()).toBe('new')
    await store.close()
  })

  test('a removed object stays gone', async () => {
    const between = await afterCut((before) => before.put('a/object', [Buffer.from('1')]))
    await between.close()
    const store = await afterCut((before) => before.remove('a/object'))
    expect(await store.read('a/object')).toBeNull()
    expect(await readdir(join(directory, 'a'))).toEqual([])
    await store.close()
  })
})
