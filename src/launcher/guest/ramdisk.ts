import { execFile } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { gzipSync, zstdDecompressSync } from 'node:zlib'
import { cpio, type Entry } from './cpio.ts'
import { guestFile } from './files.ts'
import type { GuestParts } from './parts.ts'

/** Drivers of a virtual machine. What a kernel has built in is not there to load; what these need is added. */
const wanted = [
  ...['virtio_pci', 'virtio_mmio', 'virtio_blk', 'virtio_net', 'virtio_console', 'virtio-rng'],
  ...['button', 'evdev', 'af_packet', 'crc32c_generic', 'ext4'],
  ...['virtio_scsi', 'sr_mod', 'isofs'],
]

/** The ramdisk: busybox, the drivers and the first script. */
export async function ramdisk(parts: GuestParts): Promise<Buffer> {
  const modules = await readModules(parts.modules)
  const folders = ['bin', 'lib', 'proc', 'sys', 'dev', 'mnt'].map((path): Entry => ({ path, kind: 'folder' }))
  const archive = cpio([
    ...folders,
    { path: 'bin/busybox', kind: 'file', mode: 0o755, content: await readFile(parts.busybox) },
    { path: 'bin/sh', kind: 'link', to: 'busybox' },
    { path: 'init', kind: 'file', mode: 0o755, content: await guestFile('initramfs-init') },
    { path: 'lib/order', kind: 'file', mode: 0o644, content: Buffer.from(modules.map(({ name }) => `${name}\n`).join('')) },
    ...modules.map(({ name, content }): Entry => ({ path: `lib/${name}`, kind: 'file', mode: 0o644, content })),
  ])
  return gzipSync(archive, { level: 6 })
}

async function readModules(folder: string): Promise<readonly { name: string; content: Buffer }[]> {
  const here = new Map<string, string>()
  for (const path of await readdir(folder, { recursive: true })) {
    const name = /([^/]+)\.ko(\.xz|\.zst|\.gz)?$/.exec(path)?.[1]
    if (name) here.set(name.replaceAll('_', '-'), join(folder, path))
  }
  const ordered = new Map<string, Buffer>()
  const add = async (name: string): Promise<void> => {
    const key = name.replaceAll('_', '-')
    const path = here.get(key)
    if (!path || ordered.has(key)) return
    const content = await unpacked(path)
    for (const needed of dependencies(content)) await add(needed)
    ordered.set(key, content)
  }
  for (const name of wanted) await add(name)
  return [...ordered].map(([name, content]) => ({ name: `${name}.ko`, content }))
}

/** A module names what must be loaded before it in its own `.modinfo` section. */
function dependencies(module: Buffer): readonly string[] {
  const at = module.indexOf('\0depends=') + 1
  return at === 0
    ? []
    : module
        .toString('latin1', at + 'depends='.length, module.indexOf(0, at))
        .split(',')
        .filter(Boolean)
}

async function unpacked(path: string): Promise<Buffer> {
  if (path.endsWith('.zst')) return zstdDecompressSync(await readFile(path))
  if (path.endsWith('.ko')) return await readFile(path)
  const tool = path.endsWith('.xz') ? 'xz' : 'gzip'
  const { stdout } = await promisify(execFile)(tool, ['-dc', path], { encoding: 'buffer', maxBuffer: 2 ** 26, timeout: 30_000 })
  return stdout
}
