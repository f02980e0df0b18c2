/** What the guest keeps on its two disks: files, and a raw region of the second disk that no file system knows of. */
import { randomBytes } from 'node:crypto'
import type { Shell } from '../../src/launcher/guest/shell.ts'

export const files = ['/kept', '/data/kept'] as const

/** Writes new content under this name on both disks, and has the guest say what it is. */
export async function writeContent(guest: Shell, name: string): Promise<string> {
  const lines = files.map((folder) => {
    const bytes = `head -c $((65536 + 4096 * (0x${randomBytes(1).toString('hex')} % 16))) /dev/urandom`
    return `mkdir -p ${folder} && echo ${name} ${randomBytes(16).toString('hex')} >${folder}/name && ${bytes} >${folder}/bytes && : >${folder}/was-${name}`
  })
  await guest.run(`${lines.join(' && ')} && sync`)
  return await readContent(guest)
}

/** Every file's name and SHA-256, and the file systems' own word; two equal texts mean equal content, byte for byte. */
export const readContent = (guest: Shell): Promise<string> =>
  guest.run(`for folder in ${files.join(' ')}; do find $folder -type f | sort | xargs sha256sum; cat $folder/name; done`)
