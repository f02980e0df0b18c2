import { execFile } from 'node:child_process'
import { chmod, copyFile, mkdir, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { guestFile, guestFiles } from './files.ts'
import type { GuestParts } from './parts.ts'

const run = promisify(execFile)
const mib = 2 ** 20
const folders = [
  'bin',
  'sbin',
  'etc',
  'proc',
  'sys',
  'dev',
  'tmp',
  'run',
  'data',
  'disks',
  'var/log',
  'usr/sbin',
  'lib64',
  'lib/x86_64-linux-gnu',
]

/** Programs of the guest that busybox has too, or would put itself over. */
const ownPrograms = new Set(['busybox', 'mke2fs', ...Object.values(guestFiles).map((path) => basename(path))])

/** Writes the guest's first disk, a qcow2 with one ext4 file system and no partitions, to `target`. */
export async function writeRootDisk(parts: GuestParts, scratch: string, target: string, sizeMib = 256): Promise<void> {
  const tree = join(scratch, 'root')
  const raw = join(scratch, 'root.raw')
  await fillTree(parts, tree)
  await writeFile(raw, '')
  await truncate(raw, sizeMib * mib)
  // Owned by root in the guest even when somebody else builds it; the tree's files keep the builder's number, which is nobody there.
  const options = [
    '-q',
    '-t',
    'ext4',
    '-m',
    '0',
    '-e',
    'remount-ro',
    '-E',
    'root_owner=0:0,lazy_itable_init=1',
    '-L',
    'comeback-root',
  ]
  await run(parts.mke2fs, [...options, '-d', tree, raw], { timeout: 120_000 })
  await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, target], { timeout: 120_000 })
  await rm(tree, { recursive: true })
  await rm(raw)
}

async function fillTree(parts: GuestParts, tree: string): Promise<void> {
  for (const folder of folders) await mkdir(join(tree, folder), { recursive: true })
  const put = async (from: string, to: string, mode: number) => {
    await mkdir(dirname(join(tree, to)), { recursive: true })
    await copyFile(from, join(tree, to))
    await chmod(join(tree, to), mode)
  }
  await put(parts.busybox, 'bin/busybox', 0o755)
  const applets = (await run(parts.busybox, ['--list'], { timeout: 10_000 })).stdout.trim().split('\n')
  for (const applet of applets) if (!ownPrograms.has(applet)) await symlink('busybox', join(tree, 'bin', applet))
  await put(parts.qemuGa, 'usr/sbin/qemu-ga', 0o755)
  await put(parts.mke2fs, 'usr/sbin/mke2fs', 0o755)
  await put('/etc/mke2fs.conf', 'etc/mke2fs.conf', 0o644)
  for (const library of parts.libraries) {
    const isLoader = basename(library).startsWith('ld-linux')
    await put(library, isLoader ? 'lib64/ld-linux-x86-64.so.2' : `lib/x86_64-linux-gnu/${basename(library)}`, 0o755)
  }
  for (const [name, place] of Object.entries(guestFiles)) {
    await mkdir(dirname(join(tree, place)), { recursive: true })
    await writeFile(join(tree, place), await guestFile(name as keyof typeof guestFiles), { mode: 0o755 })
  }
}
