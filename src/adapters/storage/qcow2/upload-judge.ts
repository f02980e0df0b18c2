/**
 * Whether an uploaded file is what it says. Nothing here opens it with a tool: a qcow2 file may name any file of the host as
 * its backing or data file, and a tool that opens the one opens the other.
 */
import { type FileHandle, open } from 'node:fs/promises'
import type { Bytes } from '../../../domain/ids.ts'
import { refuse } from '../../../domain/refusals.ts'
import { headerClusterBytes, looksLikeQcow2, readHeader } from './header.ts'

/** A volume of more than this is a mistake or an attack. */
export const largestUpload: Bytes = 16 * 1024 ** 4
/** The longest L1 table that QEMU opens. */
const mostL1Entries = (32 * 1024 * 1024) / 8

type Signature = { readonly name: string; readonly at: number; readonly bytes: Buffer }
const signature = (name: string, at: number, bytes: string): Signature => ({ name, at, bytes: Buffer.from(bytes, 'latin1') })

/** Formats whose files are not disks as they lie. An ISO 9660 image is one, and passes as raw. */
const otherFormats: readonly Signature[] = [
  signature('qcow2', 0, 'QFI\xfb'),
  signature('QED', 0, 'QED\0'),
  signature('VMDK', 0, 'KDMV'),
  signature('VMDK', 0, 'COWD'),
  signature('VMDK', 0, '# Disk DescriptorFile'),
  signature('VHDX', 0, 'vhdxfile'),
  signature('VHD', 0, 'conectix'),
  signature('VDI', 64, '\x7f\x10\xda\xbe'),
  signature('Parallels', 0, 'WithoutFreeSpace'),
  signature('Parallels', 0, 'WithouFreSpacExt'),
  signature('LUKS', 0, 'LUKS\xba\xbe'),
  signature('gzip', 0, '\x1f\x8b'),
  signature('xz', 0, '\xfd7zXZ\0'),
  signature('zstd', 0, '\x28\xb5\x2f\xfd'),
  signature('bzip2', 0, 'BZh'),
  signature('zip', 0, 'PK\x03\x04'),
]
/** A fixed VHD is a raw disk with a footer. */
const vhdFooter = signature('VHD', 0, 'conectix')

async function readAt(file: FileHandle, at: number, length: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, at)
  return buffer.subarray(0, bytesRead)
}

const matches = (start: Buffer, { at, bytes }: Signature): boolean => start.subarray(at, at + bytes.length).equals(bytes)

async function judgeRaw(file: FileHandle, length: Bytes): Promise<Bytes> {
  const start = await readAt(file, 0, 512)
  const footer = length >= 512 ? await readAt(file, length - 512, 512) : start
  const other = otherFormats.find((format) => matches(start, format)) ?? (matches(footer, vhdFooter) ? vhdFooter : null)
  if (other !== null) {
    throw refuse.imageDataRefused({
      why: `it was declared as raw, but it is a ${other.name} file. Unpack or convert it, or declare the format that it has.`,
    })
  }
  return length
}

async function judgeQcow2(file: FileHandle, length: Bytes): Promise<Bytes> {
  const no = (why: string) => refuse.imageDataRefused({ why })
  const start = await readAt(file, 0, 512)
  if (!looksLikeQcow2(start)) throw no('it was declared as qcow2, but it does not begin as a qcow2 file does.')
  const header = readHeader(await readAt(file, 0, headerClusterBytes(start)))
  if ('problem' in header) throw no(`it is not a sound qcow2 file: ${header.problem}.`)
  if (header.backingFile !== null || header.backingFormat !== null) {
    throw no('it names a backing file. Only images that stand alone are taken; flatten it with qemu-img convert.')
  }
  if (header.externalData) throw no('it keeps its data in another file. Only images that stand alone are taken.')
  if (header.encrypted) throw no('it is encrypted, and the key is not known here.')
  if (header.corrupt) throw no("it is marked corrupt. Repair it with 'qemu-img check -r all' and upload it again.")
  if (header.unknownFeatures !== 0n) throw no('it uses features of qcow2 that are not known here.')
  if (header.l1Entries > mostL1Entries || header.l1Offset + header.l1Entries * 8 > length)
    throw no('its tables do not fit into the file.')
  return header.sizeBytes
}

/** The virtual size of the upload, in whole sectors; refused when it is not what it says. */
export async function judgeUpload(path: string, format: 'raw' | 'qcow2'): Promise<Bytes> {
  await using file = await open(path, 'r')
  const { size: length } = await file.stat()
  const claimed = format === 'raw' ? await judgeRaw(file, length) : await judgeQcow2(file, length)
  if (claimed === 0) throw refuse.imageDataRefused({ why: 'it is empty.' })
  if (claimed > largestUpload) {
    throw refuse.imageDataRefused({
      why: `a virtual size of ${claimed} bytes is more than the ${largestUpload} that are taken.`,
    })
  }
  return Math.ceil(claimed / 512) * 512
}
