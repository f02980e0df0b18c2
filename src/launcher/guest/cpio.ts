/** Writes the archive that a kernel unpacks as its first file system (format "newc"), the same bytes for the same entries. */
export type Entry =
  | { readonly path: string; readonly kind: 'folder' }
  | { readonly path: string; readonly kind: 'link'; readonly to: string }
  | { readonly path: string; readonly kind: 'file'; readonly mode: number; readonly content: Buffer }

const bits = { folder: 0o040755, link: 0o120777, file: 0o100000 } as const
const padding = (length: number): Buffer => Buffer.alloc((4 - (length % 4)) % 4)

export function cpio(entries: readonly Entry[]): Buffer {
  const parts = entries.map((entry, index) => record(entry, index + 1))
  return Buffer.concat([...parts, record({ path: 'TRAILER!!!', kind: 'file', mode: 0, content: Buffer.alloc(0) }, 0)])
}

function record(entry: Entry, inode: number): Buffer {
  const content = entry.kind === 'file' ? entry.content : Buffer.from(entry.kind === 'link' ? entry.to : '')
  const mode = entry.kind === 'file' ? bits.file | entry.mode : bits[entry.kind]
  const name = Buffer.from(`${entry.path}\0`)
  const [uid, gid, links, mtime, major, minor] = [0, 0, 1, 0, 0, 0]
  const fields = [inode, mode, uid, gid, links, mtime, content.length, major, minor, major, minor, name.length, 0]
  const head = Buffer.from(`070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`)
  return Buffer.concat([head, name, padding(head.length + name.length), content, padding(content.length)])
}
