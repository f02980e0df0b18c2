import { execFile } from 'node:child_process'
import { open, truncate, writeFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Qcow2Pool, qcow2Pool, qemuIo, rawFile } from '../../../../test/support/qcow2-pool.ts'
import { recordOf } from '../../../../test/support/storage-fixtures.ts'
import { type LayerId, newId } from '../../../domain/ids.ts'
import { convertUpload } from './import-upload.ts'

const run = promisify(execFile)
const MiB = 1024 ** 2

describe('an upload that is not what it says', () => {
  let pool: Qcow2Pool
  beforeEach(async () => {
    pool = await qcow2Pool()
  })
  afterEach(() => pool.close())

  const path = () => pool.driver.files.upload('sent')
  const create = (...args: string[]) => run('qemu-img', ['create', '-q', ...args])
  const importAs = async (format: 'raw' | 'qcow2') => {
    const layer = newId<LayerId>()
    return pool.driver.importUpload(layer, 'sent', format, recordOf(pool.driver.pool, layer, { role: 'image' }))
  }
  const craft = async (at: number, write: (bytes: Buffer) => void, length = 8) => {
    await using file = await open(path(), 'r+')
    const { buffer } = await file.read(Buffer.alloc(length), 0, length, at)
    write(buffer)
    await file.write(buffer, 0, length, at)
  }

  test.each([
    ['a file of the host', '/etc/passwd', 'raw'],
    ['another protocol', 'nbd://127.0.0.1:1/x', 'raw'],
    ['a JSON description', 'json:{"driver":"raw","file":{"driver":"file","filename":"/etc/passwd"}}', 'raw'],
  ])('is refused when its backing file is %s', async (_case, backing, format) => {
    await create('-f', 'qcow2', '-u', '-b', backing, '-F', format, path(), '1M')
    await expect(importAs('qcow2')).rejects.toThrow(/names a backing file/)
    expect((await pool.driver.survey()).layers).toEqual([])
  })

  test('is refused before anything opens what it names: a pipe there would block the one who does', async () => {
    const pipe = `${pool.directory}/pipe`
    await run('mkfifo', [pipe])
    await create('-f', 'qcow2', '-u', '-b', pipe, '-F', 'raw', path(), '1M')
    await expect(importAs('qcow2')).rejects.toThrow(/names a backing file/)
    await run('rm', [pipe])
  })

  test('is refused when its data lies in another file', async () => {
    await create('-f', 'qcow2', '-o', `data_file=${pool.directory}/data.raw,data_file_raw=on`, path(), '1M')
    await expect(importAs('qcow2')).rejects.toThrow(/keeps its data in another file/)
    await run('rm', [`${pool.directory}/data.raw`])
  })

  test('is refused when it is encrypted', async () => {
    const secret = ['--object', 'secret,id=key,data=secret', '-o', 'encrypt.format=luks,encrypt.key-secret=key']
    await create(...secret, '-o', 'encrypt.iter-time=10', '-f', 'qcow2', path(), '1M')
    await expect(importAs('qcow2')).rejects.toThrow(/encrypted/)
  })

  test.each([
    ['qcow2', ['-f', 'qcow2'], 'qcow2'],
    ['VMDK', ['-f', 'vmdk'], 'VMDK'],
    ['dynamic VHD', ['-f', 'vpc'], 'VHD'],
    ['fixed VHD', ['-f', 'vpc', '-o', 'subformat=fixed,force_size'], 'VHD'],
    ['VHDX', ['-f', 'vhdx'], 'VHDX'],
    ['VDI', ['-f', 'vdi'], 'VDI'],
    ['QED', ['-f', 'qed'], 'QED'],
  ])('is refused when it is a %s file that was declared as raw', async (_case, args, said) => {
    await create(...args, path(), '8M')
    await expect(importAs('raw')).rejects.toThrow(new RegExp(`it is a ${said} file`))
  })

  test('is refused when it is compressed as a whole', async () => {
    await writeFile(path(), Buffer.from('1f8b0800000000000003', 'hex'))
    await expect(importAs('raw')).rejects.toThrow(/gzip/)
  })

  test.each([
    ['raw', 'qcow2', /does not begin as a qcow2 file/],
    ['raw', 'raw', /is empty/],
  ] as const)('is refused when a %s file of no bytes is declared as %s', async (_is, format, said) => {
    await writeFile(path(), '')
    await expect(importAs(format)).rejects.toThrow(said)
  })

  test('is refused when its virtual size is absurd', async () => {
    await create('-f', 'qcow2', path(), '63T')
    await expect(importAs('qcow2')).rejects.toThrow(/more than the/)
  })

  test('is refused when it is marked corrupt', async () => {
    await create('-f', 'qcow2', path(), '1M')
    await craft(72, (bytes) => bytes.writeBigUInt64BE(2n))
    await expect(importAs('qcow2')).rejects.toThrow(/marked corrupt/)
  })

  test.each([
    ['has a first table that is longer than it', 36, (bytes: Buffer) => bytes.writeUInt32BE(0x00ffffff)],
    ['has its first table beyond its end', 40, (bytes: Buffer) => bytes.writeBigUInt64BE(1n << 45n)],
  ])('is refused when it %s', async (_case, at, write) => {
    await create('-f', 'qcow2', path(), '1M')
    await craft(at, write)
    await expect(importAs('qcow2')).rejects.toThrow(/tables do not fit/)
  })

  test('is refused when it was cut short: what is missing would read as zeros', async () => {
    await create('-f', 'qcow2', path(), '8M')
    await qemuIo(path(), 'write -q -P 5 0 4M')
    await truncate(path(), 2 * MiB)
    await expect(importAs('qcow2')).rejects.toThrow(/cut short or damaged/)
    expect((await pool.driver.survey()).layers).toEqual([])
  })

  test('is refused when the pool has no room for what it unpacks to', async () => {
    await rawFile(`${path()}.raw`, 32 * MiB, Object.fromEntries(Array.from({ length: 512 }, (_, block) => [block, 7])))
    await run('qemu-img', ['convert', '-c', '-f', 'raw', '-O', 'qcow2', `${path()}.raw`, path()])
    const target = `${pool.directory}/layers/${newId()}.qcow2`
    const job = { upload: path(), format: 'qcow2' as const, target, lowUser: null, freeBytes: 4 * MiB, pool: 'small' }
    await expect(convertUpload(job)).rejects.toThrow(/too little free space/)
  })
})

describe('an upload that is unusual, but honest', () => {
  test.each([
    ['of the first version of the format', ['-o', 'compat=0.10']],
    ['compressed', ['-c']],
    ['compressed with zstd', ['-c', '-o', 'compression_type=zstd']],
    ['with small clusters', ['-o', 'cluster_size=512']],
    ['with extended L2 entries', ['-o', 'extended_l2=on']],
  ])('%s is taken', async (_case, args) => {
    const pool = await qcow2Pool()
    const sent = pool.driver.files.upload('sent')
    await rawFile(`${sent}.raw`, 8 * MiB, { 0: 1, 100: 2 })
    await run('qemu-img', ['convert', ...args, '-f', 'raw', '-O', 'qcow2', `${sent}.raw`, sent])
    await run('qemu-img', ['snapshot', '-c', 'inner', sent])
    const layer = newId<LayerId>()
    await pool.driver.importUpload(layer, 'sent', 'qcow2', recordOf(pool.driver.pool, layer, { role: 'image' }))
    expect(await pool.read(layer)).toEqual({ 0: 1, 100: 2 })
    await pool.check()
    await pool.close()
  })
})
