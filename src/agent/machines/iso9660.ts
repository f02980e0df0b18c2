/**
 * A CD-ROM image of a few small files, as ECMA-119 (ISO 9660) describes it: what a guest reads its config drive from. Plain names
 * without extensions of the standard; Linux and Windows find `META_DATA.JSON;1` as `meta_data.json`.
 */
export type File = { readonly path: string; readonly content: Buffer }

type Folder = {
  readonly name: string
  readonly parent: Folder | null
  readonly folders: Folder[]
  readonly files: Placed[]
  at: number
}
type Placed = { readonly name: string; readonly content: Buffer; at: number }

const sector = 2048
/** The first sixteen are nobody's; then come the descriptor, its end, and the path tables. */
const [descriptorAt, endAt, pathsAt, firstFree] = [16, 17, [18, 19], 20]
const directory = 2

/** `label`: up to 32 characters. Refuses what does not fit into one sector a folder. */
export function iso9660(label: string, files: readonly File[]): Buffer {
  const root = folderOf('', null)
  for (const { path, content } of files) place(root, path.split('/'), content)
  const folders = inOrder([root])
  let next = firstFree
  for (const folder of folders) folder.at = next++
  for (const folder of folders)
    for (const file of folder.files) {
      file.at = next
      next += Math.max(1, Math.ceil(file.content.length / sector))
    }
  const image = Buffer.alloc(next * sector)
  const paths = pathTables(folders)
  descriptor(label, root, paths[0].length, next).copy(image, descriptorAt * sector)
  Buffer.from('\xffCD001\x01', 'latin1').copy(image, endAt * sector)
  for (const [index, table] of paths.entries()) table.copy(image, (pathsAt[index] ?? 0) * sector)
  for (const folder of folders) {
    entriesOf(folder).copy(image, folder.at * sector)
    for (const file of folder.files) file.content.copy(image, file.at * sector)
  }
  return image
}

const folderOf = (name: string, parent: Folder | null): Folder => ({ name, parent, folders: [], files: [], at: 0 })

function place(folder: Folder, [first = '', ...rest]: readonly string[], content: Buffer): void {
  const name = first.toUpperCase()
  if (rest.length === 0) {
    folder.files.push({ name: `${name}${name.includes('.') ? '' : '.'};1`, content, at: 0 })
    return
  }
  let inner = folder.folders.find((one) => one.name === name)
  if (inner === undefined) {
    inner = folderOf(name, folder)
    folder.folders.push(inner)
  }
  place(inner, rest, content)
}

/** Level by level, as path tables want it. */
function inOrder(level: readonly Folder[]): Folder[] {
  for (const { folders, files } of level) {
    folders.sort((a, b) => (a.name < b.name ? -1 : 1))
    files.sort((a, b) => (a.name < b.name ? -1 : 1))
  }
  return level.length === 0 ? [] : [...level, ...inOrder(level.flatMap(({ folders }) => folders))]
}

/** Numbers stand twice: least significant byte first, and most. */
const both32 = (value: number): Buffer => {
  const text = Buffer.alloc(8)
  text.writeUInt32LE(value, 0)
  text.writeUInt32BE(value, 4)
  return text
}
const both16 = (value: number): Buffer => {
  const text = Buffer.alloc(4)
  text.writeUInt16LE(value, 0)
  text.writeUInt16BE(value, 2)
  return text
}

function entry(name: string, at: number, size: number, flags: number): Buffer {
  const called = Buffer.from(name, 'latin1')
  const length = 33 + called.length + (called.length % 2 === 0 ? 1 : 0)
  const record = Buffer.alloc(length)
  record[0] = length
  both32(at).copy(record, 2)
  both32(size).copy(record, 10)
  Buffer.from([80, 1, 1, 0, 0, 0, 0]).copy(record, 18) // the first day of 1980: equal files give equal images
  record[25] = flags
  both16(1).copy(record, 28)
  record[32] = called.length
  called.copy(record, 33)
  return record
}

function entriesOf(folder: Folder): Buffer {
  const { at, parent, folders, files } = folder
  const inside = [
    ...folders.map((one) => ({ name: one.name, record: entry(one.name, one.at, sector, directory) })),
    ...files.map((one) => ({ name: one.name, record: entry(one.name, one.at, one.content.length, 0) })),
  ].sort((a, b) => (a.name < b.name ? -1 : 1))
  const whole = Buffer.concat([
    entry('\0', at, sector, directory),
    entry('\x01', (parent ?? folder).at, sector, directory),
    ...inside.map(({ record }) => record),
  ])
  if (whole.length > sector) throw new Error('too many files for one folder of a CD-ROM image')
  return whole
}

/** The same table in both byte orders. */
function pathTables(folders: readonly Folder[]): readonly [Buffer, Buffer] {
  const table = (order: 'LE' | 'BE'): Buffer =>
    Buffer.concat(
      folders.map(({ name, at, parent }) => {
        const called = Buffer.from(name === '' ? '\0' : name, 'latin1')
        const row = Buffer.alloc(8 + called.length + (called.length % 2))
        row[0] = called.length
        const parentNumber = parent === null ? 1 : folders.indexOf(parent) + 1
        if (order === 'LE') {
          row.writeUInt32LE(at, 2)
          row.writeUInt16LE(parentNumber, 6)
        } else {
          row.writeUInt32BE(at, 2)
          row.writeUInt16BE(parentNumber, 6)
        }
        called.copy(row, 8)
        return row
      }),
    )
  return [table('LE'), table('BE')]
}

function descriptor(label: string, root: Folder, pathBytes: number, sectors: number): Buffer {
  const block = Buffer.alloc(sector)
  Buffer.from('\x01CD001\x01', 'latin1').copy(block, 0)
  const blank = (from: number, to: number) => block.fill(' ', from, to)
  blank(8, 72)
  Buffer.from(label.slice(0, 32), 'latin1').copy(block, 40)
  both32(sectors).copy(block, 80)
  both16(1).copy(block, 120)
  both16(1).copy(block, 124)
  both16(sector).copy(block, 128)
  both32(pathBytes).copy(block, 132)
  block.writeUInt32LE(pathsAt[0] ?? 0, 140)
  block.writeUInt32BE(pathsAt[1] ?? 0, 148)
  entry('\0', root.at, sector, directory).copy(block, 156)
  blank(190, 813)
  for (const at of [813, 830, 847, 864]) block.fill('0', at, at + 16)
  block[881] = 1
  return block
}
