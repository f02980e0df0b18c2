/** Files that survive a power cut once the call has returned: their data, and the directory that names them. */
import { constants } from 'node:fs'
import { access, type FileHandle, open, readFile, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'

export const exists = (path: string): Promise<boolean> =>
  access(path, constants.F_OK).then(
    () => true,
    () => false,
  )

/** The file's text, or null if there is none. */
export async function readIfThere(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (isMissing(error)) return null
    throw error
  }
}

export const isMissing = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 'ENOENT'

/** Syncs a file's data, or a directory's names. */
export async function sync(path: string): Promise<void> {
  await using file = await open(path, constants.O_RDONLY)
  await file.sync()
}

/** Makes the file appear under its name whole or not at all. Its name is durable after `sync` of the directory. */
export async function place(path: string, fill: (file: FileHandle) => Promise<void>, mode: number): Promise<void> {
  const passing = `${path}.tmp`
  {
    await using file = await open(passing, 'w', mode)
    await fill(file)
    await file.sync()
  }
  await rename(passing, path)
}

export async function writeDurably(path: string, text: string, mode = 0o640): Promise<void> {
  await place(path, (file) => file.writeFile(text), mode)
  await sync(dirname(path))
}

/** Removes a file for good; one that is gone already is fine. */
export async function removeDurably(path: string): Promise<void> {
  await rm(path, { force: true })
  await sync(dirname(path))
}

/** Whether a write failed for want of room. */
export const isFull = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT')
