/**
 * A vault in a directory: a local disk, or a share that is mounted there. An object is a file. It is written under a passing
 * name that begins with a dot, synced, renamed, and its directory synced.
 */
import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, mkdir, open, readdir, rename, rm, stat, statfs } from 'node:fs/promises'
import type { Bytes } from '../../../domain/ids.ts'
import type { ObjectName, VaultStore } from '../../../ports/vault-store.ts'
import { identityName } from '../format/names.ts'
import { isMissing, said } from './failures.ts'
import { HeldPlace } from './place.ts'

const isName = /^[A-Za-z0-9_-][A-Za-z0-9._-]*(\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$/
const passingName = /^\..*\.passing$/
/** What is older was left by a writer that is no more: an object is written within minutes. */
const leftAfterMs = 24 * 60 * 60 * 1000
const writtenAtOnce = 1024 * 1024
const listedAtOnce = 64

type Listed = { readonly name: ObjectName; readonly sizeBytes: Bytes }

export class DirectoryStore implements VaultStore {
  readonly #place: HeldPlace
  /** Directories that survive a power cut, as far as this process knows. */
  readonly #durable = new Set<string>([''])

  /** Whether what dead writers have left is removed on the way. */
  readonly #tidies: boolean

  private constructor(place: HeldPlace, tidies: boolean) {
    this.#place = place
    this.#tidies = tidies
  }

  /** `label`: what the vault is called in refusals. Throws `vaultUnreachable` where there is no such directory. */
  static async open(directory: string, label: string, { tidies = true } = {}): Promise<DirectoryStore> {
    return new DirectoryStore(await HeldPlace.hold(directory, label), tidies)
  }

  async put(name: ObjectName, data: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<void> {
    const { folder, file } = partsOf(name)
    const passing = `${folder}.${file}.${randomBytes(6).toString('hex')}.passing`
    try {
      await this.#proveFor(name)
      const handle = await this.#create(folder, passing)
      try {
        await writeAll(handle, data)
        await handle.sync()
      } finally {
        await handle.close()
      }
      await this.#proveFor(name)
      await rename(this.#place.path(passing), this.#place.path(name))
      await this.#sync(folder)
      await this.#place.prove()
    } catch (error) {
      await rm(this.#place.path(passing), { force: true }).catch(() => undefined)
      throw said(error, this.#place.label)
    }
  }

  replace(name: ObjectName, data: Uint8Array): Promise<void> {
    return this.put(name, [data])
  }

  async read(name: ObjectName, range?: { readonly offset: Bytes; readonly length: Bytes }): Promise<Buffer | null> {
    partsOf(name)
    try {
      await using file = await open(this.#place.path(name), constants.O_RDONLY)
      if (range !== undefined && range.offset >= 0) return await readFrom(file, range.offset, range.length)
      const { size } = await file.stat()
      const from = Math.max(0, range === undefined ? 0 : size + range.offset)
      return await readFrom(file, from, Math.min(range?.length ?? size, size - from))
    } catch (error) {
      if (!isMissing(error)) throw said(error, this.#place.label)
      if (name !== identityName) await this.#place.prove()
      return null
    }
  }

  async *list(prefix: string): AsyncGenerator<Listed> {
    const folders = [prefix]
    for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
      const files: string[] = []
      for (const entry of await this.#entries(folder)) {
        const path = folder === '' ? entry.name : `${folder}/${entry.name}`
        if (passingName.test(entry.name)) await this.#removeIfLeft(path)
        else if (entry.name.startsWith('.')) continue
        else if (entry.isDirectory()) folders.push(path)
        else files.push(path)
      }
      for (let at = 0; at < files.length; at += listedAtOnce)
        for (const listed of await Promise.all(files.slice(at, at + listedAtOnce).map((name) => this.#sized(name))))
          if (listed !== null) yield listed
    }
  }

  async remove(name: ObjectName): Promise<void> {
    const { folder } = partsOf(name)
    try {
      await this.#proveFor(name)
      await rm(this.#place.path(name))
      await this.#sync(folder)
    } catch (error) {
      if (!isMissing(error)) throw said(error, this.#place.label)
    }
  }

  async freeBytes(): Promise<Bytes> {
    try {
      const { bavail, bsize } = await statfs(this.#place.path(''))
      return bavail * bsize
    } catch (error) {
      throw said(error, this.#place.label)
    }
  }

  close(): Promise<void> {
    return this.#place.release()
  }

  /** The identity itself is what a vault begins with: it is written where there is none. */
  async #proveFor(name: ObjectName): Promise<void> {
    if (name !== identityName) await this.#place.prove()
  }

  async #create(folder: string, passing: string): Promise<FileHandle> {
    await this.#makeFolder(folder)
    try {
      return await open(this.#place.path(passing), 'wx', 0o640)
    } catch (error) {
      if (!isMissing(error)) throw error
      this.#durable.clear()
      this.#durable.add('')
      await this.#makeFolder(folder)
      return await open(this.#place.path(passing), 'wx', 0o640)
    }
  }

  /** The folder and those above it are there for good: whoever made them may not have synced them. */
  async #makeFolder(folder: string): Promise<void> {
    if (this.#durable.has(folder)) return
    const above = folder.slice(0, folder.lastIndexOf('/', folder.length - 2) + 1)
    await this.#makeFolder(above)
    await mkdir(this.#place.path(folder), 0o750).catch((error: unknown) => {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
    })
    await this.#sync(above)
    this.#durable.add(folder)
  }

  async #sync(folder: string): Promise<void> {
    await using handle = await open(this.#place.path(folder), constants.O_RDONLY | constants.O_DIRECTORY)
    await handle.sync()
  }

  async #entries(folder: string) {
    try {
      return await readdir(this.#place.path(folder), { withFileTypes: true })
    } catch (error) {
      if (!isMissing(error)) throw said(error, this.#place.label)
      await this.#place.prove()
      return []
    }
  }

  /** Null: it has gone while others were listed. */
  async #sized(name: ObjectName): Promise<Listed | null> {
    try {
      return { name, sizeBytes: (await stat(this.#place.path(name))).size }
    } catch (error) {
      if (isMissing(error)) return null
      throw said(error, this.#place.label)
    }
  }

  async #removeIfLeft(path: string): Promise<void> {
    if (!this.#tidies) return
    const left = await stat(this.#place.path(path)).catch(() => null)
    if (left !== null && Date.now() - left.mtimeMs > leftAfterMs) await rm(this.#place.path(path), { force: true })
  }
}

/** `folder` with its slash at the end; empty for the vault's own directory. */
function partsOf(name: ObjectName): { readonly folder: string; readonly file: string } {
  if (!isName.test(name)) throw new Error(`'${name}' is no name of an object`)
  const end = name.lastIndexOf('/') + 1
  return { folder: name.slice(0, end), file: name.slice(end) }
}

async function writeAll(file: FileHandle, data: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<void> {
  let gathered: Uint8Array[] = []
  let bytes = 0
  const write = async () => {
    for (let left = gathered; left.length > 0; ) {
      const { bytesWritten } = await file.writev(left)
      left = after(left, bytesWritten)
    }
    gathered = []
    bytes = 0
  }
  for await (const some of data) {
    gathered.push(some)
    bytes += some.length
    if (bytes >= writtenAtOnce || gathered.length >= 1000) await write()
  }
  await write()
}

/** What is left of the pieces when so many bytes of them are done. */
function after(pieces: readonly Uint8Array[], bytes: number): Uint8Array[] {
  let done = bytes
  const left: Uint8Array[] = []
  for (const piece of pieces) {
    const here = Math.min(done, piece.length)
    done -= here
    if (here < piece.length) left.push(piece.subarray(here))
  }
  return left
}

async function readFrom(file: FileHandle, offset: Bytes, length: Bytes): Promise<Buffer> {
  const buffer = Buffer.allocUnsafeSlow(length)
  let filled = 0
  while (filled < length) {
    const { bytesRead } = await file.read(buffer, filled, length - filled, offset + filled)
    if (bytesRead === 0) break
    filled += bytesRead
  }
  return filled === length ? buffer : Buffer.from(buffer.subarray(0, filled))
}
