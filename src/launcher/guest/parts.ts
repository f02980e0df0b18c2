/** Finds what the demo guest is made of: on this system if it is there, else in packages that are only unpacked. */
import { execFile } from 'node:child_process'
import { constants } from 'node:fs'
import { access, open, readdir, realpath } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import { refuse } from '../../domain/refusals.ts'
import { dependencyOf, unpackedPackage } from './debian-package.ts'

export type GuestParts = {
  readonly kernel: string
  /** Folder of this kernel's modules. */
  readonly modules: string
  readonly busybox: string
  readonly qemuGa: string
  readonly mke2fs: string
  /** Shared libraries of the last two, and the loader, as the programs name them. */
  readonly libraries: readonly string[]
}

const run = promisify(execFile)
const readable = (path: string) =>
  access(path, constants.R_OK).then(
    () => true,
    () => false,
  )

export async function findParts(packages: string): Promise<GuestParts> {
  if (process.arch !== 'x64')
    throw refuse.setup({ why: `The demo guest is built for x86-64 machines only; this one is ${process.arch}.` })
  const [{ kernel, modules }, busybox, qemuGa, mke2fs] = await Promise.all([
    findKernel(packages),
    findBusybox(packages),
    findProgram('qemu-ga', 'qemu-guest-agent', packages),
    findProgram('mke2fs', 'e2fsprogs', packages),
  ])
  const libraries = await librariesOf([qemuGa, mke2fs])
  return { kernel, modules, busybox, qemuGa, mke2fs, libraries }
}

/** The newest kernel made for virtual machines. */
async function findKernel(packages: string): Promise<{ kernel: string; modules: string }> {
  return (await kernelUnder('/')) ?? (await kernelUnder(await kernelPackage(packages))) ?? noKernel()
}

const noKernel = (): never => {
  throw refuse.setup({ why: 'No kernel for the demo guest was found in the package linux-image-cloud-amd64.' })
}

async function kernelPackage(packages: string): Promise<string> {
  return await unpackedPackage(await dependencyOf('linux-image-cloud-amd64', /^linux-image-\d/), packages)
}

async function kernelUnder(root: string): Promise<{ kernel: string; modules: string } | null> {
  const boot = await readdir(join(root, 'boot')).catch(() => [])
  const names = boot.filter((name) => /^vmlinuz-.*-cloud-amd64$/.test(name))
  for (const name of names.sort((a, b) => b.localeCompare(a, 'en', { numeric: true }))) {
    const version = name.slice('vmlinuz-'.length)
    const kernel = join(root, 'boot', name)
    for (const modules of [join(root, 'lib/modules', version, 'kernel'), join(root, 'usr/lib/modules', version, 'kernel')]) {
      if ((await readable(kernel)) && (await readable(modules))) return { kernel, modules }
    }
  }
  return null
}

/** It runs in the ramdisk, alone: it must not need libraries. */
async function findBusybox(packages: string): Promise<string> {
  for (const path of ['/bin/busybox', '/usr/bin/busybox']) if ((await readable(path)) && (await isStatic(path))) return path
  return await programUnder(await unpackedPackage('busybox-static', packages), 'busybox')
}

async function findProgram(name: string, fromPackage: string, packages: string): Promise<string> {
  for (const folder of ['/usr/sbin', '/sbin', '/usr/bin']) if (await readable(join(folder, name))) return join(folder, name)
  return await programUnder(await unpackedPackage(fromPackage, packages), name)
}

async function programUnder(root: string, name: string): Promise<string> {
  for (const folder of ['usr/sbin', 'usr/bin', 'sbin', 'bin']) {
    const path = join(root, folder, name)
    if (await readable(path)) return path
  }
  throw refuse.setup({ why: `The package unpacked in ${root} holds no ${name}.` })
}

/** Whether an ELF file names no interpreter (program header type 3), so that it runs without a loader. */
async function isStatic(path: string): Promise<boolean> {
  const file = await open(path)
  try {
    const head = Buffer.alloc(4096)
    await file.read(head, 0, head.length, 0)
    const [at, size, count] = [Number(head.readBigUInt64LE(32)), head.readUInt16LE(54), head.readUInt16LE(56)]
    const types = Array.from({ length: count }, (_, n) => at + n * size).filter((offset) => offset + 4 <= head.length)
    return !types.some((offset) => head.readUInt32LE(offset) === 3)
  } finally {
    await file.close()
  }
}

async function librariesOf(programs: readonly string[]): Promise<readonly string[]> {
  const found = new Set<string>()
  for (const program of programs) {
    const { stdout } = await run('ldd', [await realpath(program)], { timeout: 30_000 })
    const missing = /^\s*(\S+) => not found/m.exec(stdout)?.[1]
    if (missing)
      throw refuse.setup({ why: `${basename(program)} for the demo guest needs ${missing}, which is not installed.` })
    for (const [path] of stdout.matchAll(/\/\S+/g)) found.add(path)
  }
  return [...found].sort()
}
