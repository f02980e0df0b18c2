/**
 * The demo guest, built here from Debian's kernel and busybox: a kernel, a ramdisk and a root disk, kept by a key of all that
 * they are made of. It is small, boots in seconds under emulation, and tells on its console what it sees.
 */
import { createHash } from 'node:crypto'
import { chmod, copyFile, mkdir, mkdtemp, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { guestFile, guestFiles } from './files.ts'
import { findParts, type GuestParts } from './parts.ts'
import { ramdisk } from './ramdisk.ts'
import { writeRootDisk } from './root-disk.ts'

export type DemoGuest = {
  /** Of all that it is made of. */
  readonly key: string
  readonly kernel: string
  readonly ramdisk: string
  /** qcow2, 256 MiB. */
  readonly disk: string
}

/** Kernel arguments it is made for. A panic ends the machine instead of waiting for somebody to look. */
export const guestKernelArguments = 'console=ttyS0 quiet panic=-1'

const layout = 4

/** Finds it in `folder` or builds it there. Several builders at once each build, and the first one's stays. */
export async function ensureDemoGuest(folder: string): Promise<DemoGuest> {
  const parts = await findParts(join(folder, 'packages'))
  const key = await keyOf(parts)
  const place = join(folder, key)
  const guest = { key, kernel: join(place, 'vmlinuz'), ramdisk: join(place, 'ramdisk.gz'), disk: join(place, 'root.qcow2') }
  if (!(await exists(place))) await build(parts, folder, place)
  return guest
}

const exists = (path: string) => stat(path).then(Boolean, () => false)

async function keyOf(parts: GuestParts): Promise<string> {
  const hash = createHash('sha256').update(`layout ${layout}\0${parts.modules}\0`)
  const scripts = await Promise.all([
    guestFile('initramfs-init'),
    ...Object.keys(guestFiles).map((name) => guestFile(name as keyof typeof guestFiles)),
  ])
  for (const script of scripts) hash.update(script)
  for (const path of [parts.kernel, parts.busybox, parts.qemuGa, parts.mke2fs, ...parts.libraries])
    hash.update(await readFile(path))
  return hash.digest('hex').slice(0, 16)
}

async function build(parts: GuestParts, folder: string, place: string): Promise<void> {
  await mkdir(folder, { recursive: true })
  const scratch = await mkdtemp(join(folder, '.new-'))
  try {
    await copyFile(parts.kernel, join(scratch, 'vmlinuz'))
    await writeFile(join(scratch, 'ramdisk.gz'), await ramdisk(parts))
    await writeRootDisk(parts, scratch, join(scratch, 'root.qcow2'))
    await Promise.all(['vmlinuz', 'ramdisk.gz', 'root.qcow2'].map((name) => settle(join(scratch, name))))
    await chmod(scratch, 0o755)
    await rename(scratch, place).catch(async (error: unknown) => {
      if (!(await exists(place))) throw error
    })
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

/** On the disk and readable by whoever runs machines. */
async function settle(path: string): Promise<void> {
  const file = await open(path, 'r+')
  try {
    await file.chmod(0o644)
    await file.sync()
  } finally {
    await file.close()
  }
}
