import { execFile } from 'node:child_process'
import { mkdtemp, open, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { blankImage, clusterBytes } from './blank.ts'
import { readHeader } from './header.ts'

const run = promisify(execFile)
const [MiB, GiB, TiB] = [1024 ** 2, 1024 ** 3, 1024 ** 4]

describe('a blank image', () => {
  let scratch = ''
  beforeAll(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'comeback-blank-'))
  })
  afterAll(() => rm(scratch, { recursive: true }))

  const ours = async (size: number, backing: string | null) => {
    const path = join(scratch, 'ours.qcow2')
    const { bytes, fileBytes } = blankImage(size, backing)
    await using file = await open(path, 'w')
    await file.write(bytes)
    await file.truncate(fileBytes)
    return path
  }
  const theirs = async (size: number, backing: string | null) => {
    const path = join(scratch, 'theirs.qcow2')
    const under = backing === null ? [] : ['-u', '-b', backing, '-F', 'qcow2']
    const options = ['-o', 'compat=1.1,cluster_size=65536,lazy_refcounts=off']
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', ...options, ...under, path, String(size)])
    return path
  }

  test.each([
    ['one sector', 512, null],
    ['just under an L1 entry', 512 * MiB - 512, null],
    ['one L1 entry and a sector', 512 * MiB + 512, null],
    ['64 GiB upon a layer', 64 * GiB, '0f4b3c1e-0000-4000-8000-000000000000.qcow2'],
    ['20 TiB, whose L1 table takes several clusters', 20 * TiB, null],
    ['20 TiB upon a layer', 20 * TiB, 'base.qcow2'],
  ])('is what qemu-img writes: %s', async (_case, size, backing) => {
    const mine = await readFile(await ours(size, backing))
    const reference = await readFile(await theirs(size, backing))
    // The first cluster differs in one optional extension, the names of features; what it says is the same.
    expect(readHeader(mine.subarray(0, clusterBytes))).toEqual(readHeader(reference.subarray(0, clusterBytes)))
    expect(mine.subarray(clusterBytes).equals(reference.subarray(clusterBytes))).toBe(true)
  })

  test.each([512, 3 * GiB, 20 * TiB])('of %d bytes passes the checker, also after it was written', async (size) => {
    const path = await ours(size, null)
    await run('qemu-img', ['check', '-q', '-f', 'qcow2', path])
    await run('qemu-io', ['-f', 'qcow2', '-c', 'write -q -P 7 0 512', '-c', `write -q -P 7 ${size - 512} 512`, path])
    await run('qemu-img', ['check', '-q', '-f', 'qcow2', path])
  })
})
