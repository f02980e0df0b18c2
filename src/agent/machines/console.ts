/**
 * The serial console: what the guest prints, in a file that QEMU appends to. When it is full it becomes `before` and a new one
 * begins, so at most two of them are kept. The directory is the agent's; QEMU's user may write the file and nothing else.
 */
import { constants } from 'node:fs'
import { chmod, type FileHandle, mkdir, open, rename, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { consolePath } from './command-line.ts'
import type { QemuUser } from './environment.ts'
import type { LiveMachine } from './live.ts'

/** More than any guest's boot says; Nova's callers ask for some hundred lines. */
const fullAtBytes = 1024 * 1024

const directoryIn = (state: string): string => join(state, 'console')

/** Makes the file if need be; answers the directory, open. */
export async function openConsole(state: string, user: QemuUser): Promise<FileHandle> {
  const directory = directoryIn(state)
  await mkdir(directory, { recursive: true, mode: 0o711 })
  await chmod(directory, 0o711)
  await using file = await open(join(directory, 'now'), constants.O_CREAT | constants.O_APPEND | constants.O_WRONLY, 0o600)
  if (user !== null) await file.chown(user.uid, user.gid)
  return await open(directory, constants.O_DIRECTORY)
}

export async function rotateConsole(state: string, live: LiveMachine, user: QemuUser): Promise<void> {
  const now = join(directoryIn(state), 'now')
  if ((await stat(now)).size < fullAtBytes) return
  await rename(now, join(directoryIn(state), 'before'))
  await using _directory = await openConsole(state, user)
  const data = { out: consolePath, append: true }
  await live.control.execute('chardev-change', { id: 'console', backend: { type: 'file', data } })
}

/** The last lines; null: all that is kept. */
export async function readConsole(state: string, lines: number | null): Promise<string> {
  const parts = await Promise.all(['before', 'now'].map((name) => tail(join(directoryIn(state), name))))
  const text = parts.join('')
  if (lines === null) return text
  if (lines === 0) return ''
  const all = text.split('\n')
  const complete = all.at(-1) === ''
  return all.slice(-lines - (complete ? 1 : 0)).join('\n')
}

/** At most twice what a file should hold: a guest may have printed much since the last look. */
async function tail(path: string): Promise<string> {
  try {
    await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW)
    const { size } = await file.stat()
    const length = Math.min(size, 2 * fullAtBytes)
    const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(length), position: size - length })
    return buffer.toString('utf8', 0, bytesRead)
  } catch {
    return ''
  }
}
