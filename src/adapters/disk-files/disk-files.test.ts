import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtemp, open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { newFile } from './new-file.ts'
import { Qcow2File } from './qcow2.ts'
import { rawFile } from './raw.ts'
import type { DiskFile } from './write-at.ts'

const run = promisify(execFile)
const cluster = 65_536
const MiB = 1024 ** 2

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'disk-files-'))
})
afterAll(() => rm(folder, { recursive: true }))

type Piece = readonly [cluster: number, clusters: number]

/** The same writes into both kinds of file, several at once and in no order. */
async function written(name: string, sizeBytes: number, pieces: readonly Piece[]) {
  const files = { raw: join(folder, `${name}.raw`), qcow2: join(folder, `${name}.qcow2`) }
  const writes = pieces.map(([first, count]) => {
    const offset = first * cluster
    return { offset, data: randomBytes(Math.min(count * cluster, sizeBytes - offset)) }
  })
  for (const [kind, path] of Object.entries(files))
    await newFile(path, async (handle) => {
      const target = kind === 'raw' ? await rawFile(handle, sizeBytes) : new Qcow2File(handle, sizeBytes)
      await Promise.all(writes.toReversed().map(({ offset, data }) => target.write(offset, data)))
      await target.flush()
      await target.close()
    })
  return files
}

describe('a qcow2 file is what QEMU would have made of the raw one', () => {
  const cases: [string, number, Piece[]][] = [
    ['with nothing in it', 3 * MiB, []],
    ['smaller than a cluster', 512, [[0, 1]]],
    ['that ends within a cluster', 5 * cluster + 512, [[1, 2], [5, 1]]], // biome-ignore format: one piece after another
    ['full', 40 * cluster, [[0, 16], [16, 16], [32, 8]]], // biome-ignore format: one piece after another
    ['with data in several tables, the last at its end', 2048 * MiB + 512, [[0, 1], [8191, 1], [8192, 3], [20_000, 1], [32_767, 1], [32_768, 1]]], // biome-ignore format: one piece after another
    ['of a size that needs a large first table', 8 * 1024 ** 4, [[0, 1], [134_217_727, 1]]], // biome-ignore format: one piece after another
  ]
  test.each(cases)('%s', async (name, sizeBytes, pieces) => {
    const { raw, qcow2 } = await written(name.replaceAll(' ', '-'), sizeBytes, pieces)
    expect((await stat(raw)).size).toBe(sizeBytes)
    const { stdout } = await run('qemu-img', ['info', '--output=json', qcow2])
    expect(JSON.parse(stdout)).toMatchObject({ format: 'qcow2', 'virtual-size': sizeBytes })
    await run('qemu-img', ['check', qcow2])
    if (sizeBytes < 4096 * MiB) await run('qemu-img', ['compare', '-f', 'raw', '-F', 'qcow2', raw, qcow2])
    else await run('qemu-img', ['compare', '-f', 'raw', '-F', 'qcow2', '-U', raw, qcow2], { timeout: 60_000 })
  })

  test('with more clusters than one block of refcounts counts', async () => {
    const path = join(folder, 'many.qcow2')
    const clusters = 33_000
    const zeros = Buffer.alloc(16 * cluster)
    await newFile(path, async (handle) => {
      // Only the tables are of interest here: what is data stays a hole.
      const write: DiskFile['write'] = async (data, offset, length, position) =>
        data.length === zeros.length ? { bytesWritten: length } : await handle.write(data, offset, length, position)
      const file = { write, truncate: (length: number) => handle.truncate(length), sync: () => handle.sync() }
      const target = new Qcow2File(file, clusters * cluster)
      for (let at = 0; at < clusters; at += 16) {
        const count = Math.min(16, clusters - at)
        await target.write(at * cluster, zeros.subarray(0, count * cluster))
      }
      await target.flush()
    })
    await run('qemu-img', ['check', path])
  })
})

test('a cluster is written once, and whole', async () => {
  const handle = await open(join(folder, 'strict'), 'wx')
  const target = new Qcow2File(handle, 4 * cluster)
  await target.write(0, Buffer.alloc(cluster, 1))
  await expect(target.write(0, Buffer.alloc(cluster, 2))).rejects.toThrow('was written before')
  await expect(target.write(512, Buffer.alloc(512))).rejects.toThrow('whole clusters')
  await expect(target.write(cluster, Buffer.alloc(512))).rejects.toThrow('whole clusters')
  await handle.close()
})

describe('a new file', () => {
  test('is there only when it is whole, and takes nobody else’s name', async () => {
    const path = join(folder, 'whole')
    const failing = newFile(path, async (handle) => {
      await handle.write('half')
      expect(await readdir(folder)).toContain('whole.partial')
      throw new Error('on purpose')
    })
    await expect(failing).rejects.toThrow('on purpose')
    expect((await readdir(folder)).filter((name) => name.startsWith('whole'))).toEqual([])
    await newFile(path, (handle) => handle.write('all of it'))
    await expect(newFile(path, (handle) => handle.write('other'))).rejects.toThrow('EEXIST')
    expect(await readFile(path, 'utf8')).toBe('all of it')
    expect((await stat(path)).mode & 0o777).toBe(0o600)
  })

  test('two at once are not one', async () => {
    const path = join(folder, 'twice')
    await writeFile(`${path}.partial`, 'somebody is at it')
    await expect(newFile(path, (handle) => handle.write('x'))).rejects.toThrow('EEXIST')
    expect(await readFile(`${path}.partial`, 'utf8')).toBe('somebody is at it')
  })
})
