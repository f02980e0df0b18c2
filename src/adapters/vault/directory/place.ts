/**
 * The directory of a vault, held open. All its files are named relative to what is held, so that nothing is ever written into
 * another file system that comes or goes under the same path; and what the path leads to is compared with it again and again.
 */
import { constants } from 'node:fs'
import { access, type FileHandle, open, stat } from 'node:fs/promises'
import { refuse } from '../../../domain/refusals.ts'
import { identityName } from '../format/names.ts'
import { isMissing, said } from './failures.ts'

export class HeldPlace {
  readonly label: string
  readonly #directory: string
  readonly #handle: FileHandle
  readonly #device: number
  readonly #inode: number

  private constructor(directory: string, label: string, handle: FileHandle, device: number, inode: number) {
    this.#directory = directory
    this.label = label
    this.#handle = handle
    this.#device = device
    this.#inode = inode
  }

  static async hold(directory: string, label: string): Promise<HeldPlace> {
    try {
      const handle = await open(directory, constants.O_RDONLY | constants.O_DIRECTORY)
      const { dev, ino } = await handle.stat()
      return new HeldPlace(directory, label, handle, dev, ino)
    } catch (error) {
      throw isMissing(error) ? refuse.vaultUnreachable({ vault: label }) : said(error, label)
    }
  }

  /** A path that leads into what is held, whatever lies under the directory's own path by now. */
  path(name: string): string {
    return `/proc/self/fd/${this.#handle.fd}/${name}`
  }

  /** Throws `vaultUnreachable` when the path leads elsewhere, or the vault's own identity is not there. */
  async prove(): Promise<void> {
    try {
      const { dev, ino } = await stat(this.#directory)
      if (dev === this.#device && ino === this.#inode) return await access(this.path(identityName), constants.F_OK)
    } catch (error) {
      if (!isMissing(error)) throw said(error, this.label)
    }
    throw refuse.vaultUnreachable({ vault: this.label })
  }

  async release(): Promise<void> {
    await this.#handle.close()
  }
}
