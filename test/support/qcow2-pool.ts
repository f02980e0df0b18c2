/** A pool of real qcow2 files in a directory of its own, written and read with QEMU's own tools. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Qcow2Driver, type Qcow2Options } from '../../src/adapters/storage/qcow2/driver.ts'
import { type LayerId, newId, type PoolId } from '../../src/domain/ids.ts'
import { blockBytes, type Content, type TestPool } from './storage-fixtures.ts'

const run = promisify(execFile)
const isRoot = process.getuid?.() === 0
/** Any user who is not root does: nothing else in the tests runs as it. */
const nobody = isRoot ? { uid: 65534, gid: 65534 } : null

export type Qcow2Pool = TestPool & { readonly driver: Qcow2Driver; readonly directory: string }

/** What a raw file holds, told in blocks; fails when a block is not filled with one byte. */
export async function contentOfRaw(path: string): Promise<Content> {
  const bytes = await readFile(path)
  const content: Record<number, number> = {}
  for (let at = 0; at < bytes.length; at += blockBytes) {
    const block = bytes.subarray(at, at + blockBytes)
    const byte = block[0] ?? 0
    if (!block.every((each) => each === byte)) throw new Error(`block ${at / blockBytes} of ${path} is torn`)
    if (byte !== 0) content[at / blockBytes] = byte
  }
  return content
}

/** A file that holds the content, sparse where it is zero. */
export async function rawFile(path: string, size: number, content: Content): Promise<void> {
  const bytes = Buffer.alloc(size)
  for (const [block, byte] of Object.entries(content)) {
    bytes.fill(byte, Number(block) * blockBytes, Math.min(size, (Number(block) + 1) * blockBytes))
  }
  await writeFile(path, bytes)
}

export async function qemuIo(path: string, ...commands: string[]): Promise<void> {
  const { stdout } = await run('qemu-io', ['-f', 'qcow2', ...commands.flatMap((command) => ['-c', command]), path])
  if (/failed|error/i.test(stdout)) throw new Error(stdout)
}

export async function readLayer(path: string, scratch: string): Promise<Content> {
  const raw = join(scratch, `read-${newId()}.raw`)
  try {
    await run('qemu-img', ['convert', '-U', '-f', 'qcow2', '-O', 'raw', path, raw])
    return await contentOfRaw(raw)
  } finally {
    await rm(raw, { force: true })
  }
}

/** Keeps the image open for writing in a process of its own, as a machine does. */
async function openInQemuIo(path: string): Promise<() => Promise<void>> {
  const child = spawn('qemu-io', ['-f', 'qcow2', path], { stdio: ['pipe', 'pipe', 'pipe'] })
  const said: string[] = []
  child.stderr.on('data', (chunk) => said.push(String(chunk)))
  const gone = once(child, 'close')
  await Promise.race([once(child.stdout, 'data'), gone]) // its prompt comes when the image is open
  if (child.exitCode !== null) throw new Error(said.join(''))
  return async () => {
    child.stdin.end('quit\n')
    await gone
  }
}

export async function qcow2Pool(options: Partial<Qcow2Options> = {}): Promise<Qcow2Pool> {
  const scratch = await mkdtemp(join(tmpdir(), 'comeback-pool-'))
  const directory = options.directory ?? join(scratch, 'pool')
  const pool: PoolId = newId()
  const settings = {
    runtime: join(scratch, 'run'),
    diskOwner: nobody,
    lowUser: nobody,
    holdPatienceMs: 150,
    ...options,
    directory,
  }
  const driver = await Qcow2Driver.open(pool, settings)
  const others: Qcow2Driver[] = []
  const pathOf = (layer: LayerId) => driver.files.layer(layer)
  return {
    driver,
    directory,
    write: (layer, block, byte) => qemuIo(pathOf(layer), `write -q -P ${byte} ${block * blockBytes} ${blockBytes}`),
    read: (layer) => readLayer(pathOf(layer), scratch),
    openForWriting: (layer) => openInQemuIo(pathOf(layer)),
    another: async () => {
      const other = await Qcow2Driver.open(pool, settings)
      others.push(other)
      return other
    },
    upload: async (name, format, size, content) => {
      const raw = format === 'raw' ? driver.files.upload(name) : join(scratch, name)
      await rawFile(raw, size, content)
      if (format === 'qcow2') await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, driver.files.upload(name)])
    },
    check: async () => {
      const { layers } = await driver.survey()
      for (const { layer } of layers) await run('qemu-img', ['check', '-q', '-f', 'qcow2', pathOf(layer)])
    },
    close: async () => {
      for (const each of [driver, ...others]) await each.close()
      await rm(scratch, { recursive: true, force: true })
    },
  }
}
