/** Backups of real disks into a real vault: incremental, restored, killed in the middle, collected, and after everything is lost. */
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { connect } from '../../src/adapters/database/connect.ts'
import { Installation } from '../support/installation.ts'
import { type OpenStack, until } from '../support/openstack.ts'

const run = promisify(execFile)
const minutes = 60_000
const MiB = 1024 ** 2

let box: Installation
let cloud: OpenStack
let vault: string
let database: pg.Pool

beforeAll(async () => {
  box = await Installation.start({ COMEBACK_VAULT_SWEEP_SECONDS: '1' })
  cloud = await box.logIn()
  database = connect(box.databaseUrl)
  await mkdir(join(box.state, 'vault'))
  const made = await cloud.post<{ vault: { id: string }; recovery_key: string }>('/v1/vaults', {
    name: 'vault',
    directory: join(box.state, 'vault'),
  })
  vault = made.vault.id
  expect(made.recovery_key.length).toBeGreaterThan(20)
}, 5 * minutes)
afterAll(async () => {
  await database.end()
  await box.end()
})

type Started = { operation: { id: string } }
type Backup = {
  id: string
  state: string
  read_bytes: number
  stored_bytes: number
  read_all_because: string | null
  fail_reason: string | null
}

const done = async <S extends Started>(started: Promise<S>): Promise<S> => {
  const begun = await started
  expect(await cloud.operationEnds(begun.operation.id)).toMatchObject({ state: 'done', problem: null, warnings: [] })
  return begun
}
const newVolume = async (): Promise<string> =>
  (await done(cloud.post<Started & { volume: string }>('/v1/volumes', { name: 'v', source: { size_bytes: 1024 * MiB } })))
    .volume
const startBackup = (volume: string) => cloud.post<Started & { backup: string }>('/v1/backups', { volume })
const backUp = async (volume: string): Promise<Backup> =>
  cloud.get<Backup>(`/v1/backups/${(await done(startBackup(volume))).backup}`)
const restoreNew = async (backup: string): Promise<string> =>
  (await done(cloud.post<Started & { volume: string }>('/v1/volumes', { name: 'r', source: { backup } }))).volume

const layers = () => join(box.state, 'pool/layers')

/** The file that the volume writes, as the pool's own records say. */
async function headOf(volume: string): Promise<string> {
  type Said = { layer: string; role: string; volume: { id: string } | null }
  for (const name of await readdir(layers())) {
    if (!name.endsWith('.json')) continue
    const record = JSON.parse(await readFile(join(layers(), name), 'utf8')) as Said
    if (record.role === 'head' && record.volume?.id === volume) return join(layers(), `${record.layer}.qcow2`)
  }
  throw new Error(`no layer says that volume ${volume} writes it`)
}

/** 256 MiB that nobody can make smaller. */
async function writeNoise(volume: string): Promise<void> {
  const noise = join(box.state, 'noise')
  await writeFile(noise, randomBytes(64 * MiB))
  for (let n = 0; n < 4; n++) await write(volume, `write -s ${noise} ${n * 64}M 64M`)
}

/** Nobody has these volumes open: what a guest would write is written to the file. */
const write = async (volume: string, ...commands: readonly string[]) =>
  run('qemu-io', ['-f', 'qcow2', ...commands.flatMap((command) => ['-c', command]), await headOf(volume)], { timeout: minutes })

const identical = async (a: string, b: string): Promise<string> =>
  (
    await run('qemu-img', ['compare', '-U', '-f', 'qcow2', '-F', 'qcow2', await headOf(a), await headOf(b)], {
      timeout: minutes,
    })
  ).stdout

/** All that the vault holds under its volumes, by name. What a killed writer left half written is none of it. */
const objects = async (): Promise<string[]> =>
  (await readdir(join(box.state, 'vault/volumes'), { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile() && !entry.name.startsWith('.'))
    .map((entry) => join(entry.parentPath, entry.name))

test('the second reads only what changed; each is restored to a new volume and in place, byte for byte', {
  timeout: 5 * minutes,
}, async () => {
  const volume = await newVolume()
  await write(volume, 'write -P 0x11 0 40M', 'write -P 0x22 900M 1M')
  const first = await backUp(volume)
  expect(first).toMatchObject({ state: 'available', read_bytes: 41 * MiB, read_all_because: expect.any(String) })
  const copyOfFirst = await restoreNew(first.id)
  expect(await identical(volume, copyOfFirst)).toContain('Images are identical')

  await write(volume, 'write -P 0x33 10M 64k', 'write -P 0x44 500M 64k')
  const second = await backUp(volume)
  expect(second).toMatchObject({ state: 'available', read_bytes: 128 * 1024, read_all_because: null })
  expect(second.stored_bytes).toBeLessThan(200 * 1024)
  expect(await identical(volume, await restoreNew(second.id))).toContain('Images are identical')

  await done(cloud.post<Started>(`/v1/volumes/${volume}/restores`, { backup: first.id, confirm: 'v' }))
  expect(await identical(volume, copyOfFirst)).toContain('Images are identical')
  // The next one is told what changed across the branches.
  await write(volume, 'write -P 0x55 20M 64k')
  const third = await backUp(volume)
  expect(third).toMatchObject({ state: 'available', read_all_because: null })
  expect(await identical(volume, await restoreNew(third.id))).toContain('Images are identical')
})

test('killed in the middle, agent or controller, a backup is written all the same; cancelled it leaves nothing', {
  timeout: 10 * minutes,
}, async () => {
  const volume = await newVolume()
  await writeNoise(volume)
  const rate = (bytes: number | null) => cloud.ask('PATCH', `/v1/vaults/${vault}`, { bytes_per_second: bytes })
  const moving = (id: string) =>
    until(`backup ${id} to be moving`, async () => {
      const { rows } = await database.query<{ done: boolean }>(progress, [id])
      return rows[0]?.done || null
    })
  for (const part of ['agent', 'controller'] as const) {
    await rate(100 * MiB)
    const begun = await startBackup(volume)
    await moving(begun.operation.id)
    await box.kill(part)
    await rate(null).catch(() => undefined)
    await box.up()
    cloud = await box.logIn()
    await rate(null)
    expect(await cloud.operationEnds(begun.operation.id)).toMatchObject({ state: 'done' })
    expect(await identical(volume, await restoreNew(begun.backup))).toContain('Images are identical')
    await writeNoise(volume)
  }

  const before = await objects()
  await rate(50 * MiB)
  const begun = await startBackup(volume)
  await moving(begun.operation.id)
  await cloud.post(`/v1/operations/${begun.operation.id}/cancel`, {})
  expect(await cloud.operationEnds(begun.operation.id)).toMatchObject({ state: 'undone', problem: { code: 'cancelled' } })
  await rate(null)
  expect(await cloud.get<Backup>(`/v1/backups/${begun.backup}`)).toMatchObject({ state: 'failed' })
  const left = (await objects()).filter((name) => !before.includes(name) && /pack|manifest/.test(name))
  expect(left).toEqual([])
})

const progress = `select exists(select from operation_events
  where operation_id = $1 and type = 'progress' and (data->>'doneBytes')::bigint > 0) as done`

test('what deleted backups alone needed leaves the vault at the second look; verification proves the rest', {
  timeout: 5 * minutes,
}, async () => {
  const volume = await newVolume()
  await write(volume, 'write -P 0x11 0 8M')
  const first = await backUp(volume)
  await write(volume, 'write -P 0x22 0 8M')
  const second = await backUp(volume)
  const size = async () => (await objects()).filter((name) => name.includes(volume) && name.includes('pack')).length
  const before = await size()
  await done(deleteBackup(first.id))
  await until('packs to go', async () => ((await size()) < before ? true : null), 2 * minutes)
  const proved = await done(cloud.post<Started>(`/v1/vaults/${vault}/verifications`, {}))
  const { result } = await cloud.get<{ result: { damage: unknown[]; backups: number } }>(
    `/v1/operations/${proved.operation.id}`,
  )
  expect(result.damage).toEqual([])
  expect(result.backups).toBeGreaterThan(3)
  expect(await identical(volume, await restoreNew(second.id))).toContain('Images are identical')
})

const deleteBackup = async (id: string): Promise<Started> => {
  const { name } = await cloud.get<{ name: string }>(`/v1/backups/${id}`)
  const { status, body } = await cloud.ask<Started>('DELETE', `/v1/backups/${id}?confirm=${encodeURIComponent(name)}`)
  expect(status).toBe(202)
  return body
}
