/** A file that is there under its name only when it is whole, and survives a power cut then. */
import { type FileHandle, link, lstat, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Refused (EEXIST) where something has the name already, before anything is written. Whatever `fill` leaves behind when it fails goes. */
export async function newFile<Result>(path: string, fill: (handle: FileHandle) => Promise<Result>): Promise<Result> {
  const partial = `${path}.partial`
  await requireFree(path)
  const handle = await open(partial, 'wx', 0o600)
  try {
    const result = await fill(handle)
    await handle.sync()
    await giveName(partial, path)
    return result
  } finally {
    await handle.close()
    await rm(partial, { force: true })
    await syncFolder(dirname(path))
  }
}

async function requireFree(path: string): Promise<void> {
  const there = await lstat(path).catch(() => null)
  if (there) throw Object.assign(new Error(`EEXIST: ${path} is there already`), { code: 'EEXIST' })
}

const withoutLinks: ReadonlySet<string> = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'])

/** A rename would replace what has got the name meanwhile; it is for file systems, such as those of sticks, that know no links. */
async function giveName(partial: string, path: string): Promise<void> {
  try {
    await link(partial, path)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && withoutLinks.has(String(error.code)))) throw error
    await rename(partial, path)
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
