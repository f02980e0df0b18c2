import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readdir, rename, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { DirectoryStore } from '../../src/adapters/vault/directory/store.ts'
import { vaultStoreConformance } from './vault-store.ts'

const run = promisify(execFile)
const newDirectory = () => mkdtemp(join(tmpdir(), 'comeback-vault-'))
const identity = [Buffer.from('{}')]

vaultStoreConformance('directory', async () => {
  const directory = await newDirectory()
  const opened: DirectoryStore[] = []
  const another = async () => {
    const store = await DirectoryStore.open(directory, 'v')
    opened.push(store)
    return store
  }
  const store = await another()
  await store.put('vault.json', identity)
  const end = async () => {
    for (const each of opened) await each.close()
    await rm(directory, { recursive: true })
  }
  return { store, another, end }
})

describe('a directory that is not what it was', () => {
  let root: string
  let directory: string
  let store: DirectoryStore
  beforeEach(async () => {
    root = await newDirectory()
    directory = join(root, 'vault')
    await mkdir(directory)
    store = await DirectoryStore.open(directory, 'v')
    await store.put('vault.json', identity)
    await store.put('a/object', [Buffer.from('content')])
  })
  afterEach(async () => {
    await store.close()
    await rm(root, { recursive: true })
  })

  const unreachable = { code: 'vaultUnreachable', message: expect.stringContaining('Vault v is not where it should be') }
  const allRefused = async () => {
    await expect(store.put('a/new', identity)).rejects.toMatchObject(unreachable)
    await expect(store.replace('a/object', Buffer.from('1'))).rejects.toMatchObject(unreachable)
    await expect(store.remove('a/object')).rejects.toMatchObject(unreachable)
    await expect(store.read('a/none')).rejects.toMatchObject(unreachable)
    await expect(store.list('none').next()).rejects.toMatchObject(unreachable)
  }

  test('without its identity, nothing is written, nor said to be missing', async () => {
    await rm(join(directory, 'vault.json'))
    await allRefused()
    expect(await readdir(directory)).toEqual(['a'])
  })

  test('with another directory under its name, nothing is written into that one', async () => {
    await rename(directory, join(root, 'moved'))
    await mkdir(directory)
    await writeFile(join(directory, 'vault.json'), '{}')
    await allRefused()
    expect(await readdir(directory)).toEqual(['vault.json'])
    expect(await readdir(join(root, 'moved', 'a'))).toEqual(['object'])
  })

  test('gone altogether', async () => {
    await rename(directory, join(root, 'moved'))
    await allRefused()
    await expect(DirectoryStore.open(directory, 'v')).rejects.toMatchObject(unreachable)
  })

  test('what a dead writer left is removed when it is a day old, and never listed', async () => {
    const left = join(directory, 'a', '.object.0123456789ab.passing')
    const fresh = join(directory, 'a', '.object.ba9876543210.passing')
    await writeFile(left, 'half')
    await writeFile(fresh, 'half')
    const longAgo = new Date(Date.now() - 25 * 60 * 60 * 1000)
    await utimes(left, longAgo, longAgo)
    const names = []
    for await (const { name } of store.list('')) names.push(name)
    expect(names.sort()).toEqual(['a/object', 'vault.json'])
    expect((await readdir(join(directory, 'a'))).sort()).toEqual(['.object.ba9876543210.passing', 'object'])
  })
})

const whyNoMount = process.getuid?.() === 0 ? null : 'needs root'

describe.skipIf(whyNoMount !== null)(`a mounted share${whyNoMount === null ? '' : ` (left out: ${whyNoMount})`}`, () => {
  let directory: string
  let store: DirectoryStore
  beforeEach(async () => {
    directory = await newDirectory()
    await run('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'comeback-test', directory])
    store = await DirectoryStore.open(directory, 'v')
    await store.put('vault.json', identity)
  })
  afterEach(async () => {
    await store.close()
    await run('umount', ['-l', directory]).catch(() => undefined)
    await rm(directory, { recursive: true })
  })

  test('that goes while an object is being written: it is refused, and nothing lies under the mount point', async () => {
    async function* andThenGone() {
      yield Buffer.alloc(1000)
      await run('umount', ['-l', directory])
      yield Buffer.alloc(1000)
    }
    await expect(store.put('a/b/object', andThenGone())).rejects.toMatchObject({ code: 'vaultUnreachable' })
    await expect(store.put('other', identity)).rejects.toMatchObject({ code: 'vaultUnreachable' })
    expect(await readdir(directory)).toEqual([])
    const another = await DirectoryStore.open(directory, 'v')
    await expect(another.put('x', identity)).rejects.toMatchObject({ code: 'vaultUnreachable' })
    await another.close()
  })

  test('that is full: it is said so, and what was begun is not there', async () => {
    await expect(store.put('big', [Buffer.alloc(5_000_000)])).rejects.toMatchObject({ code: 'vaultFull' })
    expect(await readdir(directory)).toEqual(['vault.json'])
    await store.put('small', [Buffer.alloc(1_000_000)])
  })

  test('that is read-only: it is said so', async () => {
    await run('mount', ['-o', 'remount,ro', directory])
    await expect(store.put('x', identity)).rejects.toMatchObject({ code: 'vaultReadOnly' })
    await run('mount', ['-o', 'remount,rw', directory])
  })
})
