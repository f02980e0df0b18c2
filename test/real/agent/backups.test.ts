/** Backups of real disks by a real agent into a directory, and back into another agent's pool. */
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { exportsDirectory } from '../../../src/agent/exports/exports.ts'
import type { MoveProgress, VaultAccess, WriteBackup } from '../../../src/ports/vault-mover.ts'
import { AgentProcess } from '../../support/agent-process.ts'
import { aKey, backupFacts, identityOf, moverOf, TestVolume, vaultAt } from '../../support/agent-vault.ts'
import { FragileDisk, whyNoPowerCut } from '../../support/fragile-disk.ts'
import { MiB } from '../../support/real-guest.ts'

const size = 64 * MiB

let directory: string
let agent: AgentProcess
let other: AgentProcess
let access: VaultAccess
let volume: TestVolume

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'comeback-vault-'))
  agent = await AgentProcess.start()
  other = await AgentProcess.start()
})
afterAll(async () => {
  await agent.end()
  await other.end()
  await rm(directory, { recursive: true, force: true })
})
let count = 0
beforeEach(async () => {
  const place = join(directory, String(count++))
  await mkdir(place)
  access = vaultAt(place)
  await moverOf(agent).makeVault(access, identityOf(access))
  volume = await TestVolume.make(agent, size)
  await volume.do('write -q -P 17 0 5M', 'write -q -P 18 20M 300k', 'write -q -P 19 63M 1M')
})

const requestOf = async (previous: WriteBackup['previous'] = null): Promise<WriteBackup> => ({
  of: volume.ref(),
  source: await volume.point(),
  previous,
  facts: backupFacts,
})

const previousOf = ({ of, source }: WriteBackup): WriteBackup['previous'] => ({
  backup: of.backup,
  point: source,
  whyNot: null,
})

/** Processes that work for the agent: movers and storage daemons. */
async function workers(of: AgentProcess): Promise<string[]> {
  const found: string[] = []
  for (const pid of await readdir('/proc')) {
    const text = /^\d+$/.test(pid) ? await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '') : ''
    if (!text.includes(`=${exportsDirectory(of.run)}\0`)) continue
    found.push((await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).replaceAll('\0', ' '))
  }
  return found
}

test('a backup, increments over a rollback, and each of them back in another pool, byte for byte', async () => {
  const first = await requestOf()
  const told: MoveProgress[] = []
  const full = await moverOf(agent).writeBackup(access, first, (news) => told.push(news))
  expect(full).toMatchObject({ sizeBytes: size, base: null })
  expect(full.readBytes).toBeLessThan(7 * MiB)
  expect(told.at(-1)?.doneBytes).toBe(told.at(-1)?.totalBytes)
  expect(await moverOf(agent).writeBackup(access, first)).toEqual(full)

  await volume.do('write -q -P 33 1M 64k', 'discard -q 2M 128k', 'write -q -z 63M 64k')
  const second = await requestOf(previousOf(first))
  expect(await moverOf(agent).writeBackup(access, second)).toMatchObject({
    base: first.of.backup,
    why: null,
    readBytes: 65_536,
  })

  await volume.rollBack(first.source)
  await volume.do('write -q -P 44 40M 64k')
  const third = await requestOf(previousOf(second))
  const increment = await moverOf(agent).writeBackup(access, third)
  expect(increment).toMatchObject({ base: second.of.backup, why: null })
  expect(increment.readBytes).toBeLessThanOrEqual(5 * 65_536)

  const there = await TestVolume.make(other, size)
  for (const { of, source } of [first, second, third]) {
    const target = await there.target()
    const found = (await moverOf(other).listBackups(access)).find(({ backup }) => backup === of.backup)
    const rootHash = found?.rootHash ?? ''
    const { writtenBytes } = await moverOf(other).restoreBackup(access, { of, rootHash, target })
    expect(writtenBytes).toBeLessThan(8 * MiB)
    const wanted = await volume.bytesOf(source.point.layer)
    expect((await there.bytesOf(target.layer)).equals(wanted)).toBe(true)
  }
  const larger = await there.target(2 * size)
  await moverOf(other).restoreBackup(access, { of: third.of, rootHash: increment.rootHash, target: larger })
  const wanted = Buffer.concat([await volume.bytesOf(third.source.point.layer), Buffer.alloc(size)])
  expect((await there.bytesOf(larger.layer)).equals(wanted)).toBe(true)
  const smaller = await there.target(size / 2)
  await expect(
    moverOf(other).restoreBackup(access, { of: third.of, rootHash: increment.rootHash, target: smaller }),
  ).rejects.toMatchObject({ code: 'backupLarger' })

  expect(await moverOf(agent).verify(access, null)).toMatchObject({ backups: 3, damage: [] })
  await moverOf(agent).deleteBackup(access, second.of)
  expect(await moverOf(agent).hasBackup(access, second.of)).toBe(false)
  expect(await moverOf(agent).hasBackup(access, third.of)).toBe(true)
  await moverOf(agent).sweepVolume(access, volume.id)
  expect(await moverOf(agent).verify(access, volume.id)).toMatchObject({ backups: 2, damage: [] })
  expect(await workers(agent)).toEqual([])
})

test('where the former point is gone, everything is read, and the reason is told', async () => {
  const first = await requestOf()
  await moverOf(agent).writeBackup(access, first)
  const gone = { ...first.source, chain: [...first.source.chain, (await volume.target()).layer] }
  await (await agent.storage()).remove(gone.chain.at(-1)!)
  const second = await requestOf({ backup: first.of.backup, point: gone, whyNot: null })
  expect(await moverOf(agent).writeBackup(access, second)).toMatchObject({
    base: null,
    why: "the previous backup's point cannot be opened any more",
  })
})

test('a vault is tested, says which pools it shares a disk with, and shows who it is without a key', async () => {
  const { freeBytes, sharesDiskWith } = await moverOf(agent).testVault(access)
  expect(freeBytes).toBeGreaterThan(0)
  expect(sharesDiskWith).toEqual(['local'])
  expect(await moverOf(agent).readIdentity(access.place)).toEqual(identityOf(access))
  const slot = { id: 'a', createdAt: '2026-01-01T00:00:00Z', salt: 'AA==', nonce: 'AA==', wrapped: 'AA==' }
  await moverOf(agent).writeSlots(access, [slot])
  expect((await moverOf(agent).readIdentity(access.place))?.slots).toEqual([slot])
  await moverOf(agent).makeVault(access, identityOf(access))
  const another = vaultAt(access.place.directory)
  await expect(moverOf(agent).makeVault(another, identityOf(another))).rejects.toMatchObject({ code: 'vaultNotEmpty' })
  await expect(moverOf(agent).testVault(another)).rejects.toMatchObject({ code: 'vaultUnreachable' })
  await expect(moverOf(agent).testVault({ ...access, key: aKey() })).resolves.toBeTruthy()
  const empty = join(directory, 'empty')
  await mkdir(empty)
  expect(await moverOf(agent).readIdentity({ kind: 'directory', directory: empty })).toBeNull()
})

test('a link does not lead a vault into a pool', async () => {
  const link = join(directory, 'link')
  await mkdir(join(agent.directory, 'state/pool/vault'))
  await symlink(join(agent.directory, 'state/pool/vault'), link)
  const inside = vaultAt(link)
  await expect(moverOf(agent).makeVault(inside, identityOf(inside))).rejects.toMatchObject({ code: 'vaultPlaceRefused' })
  await rm(join(agent.directory, 'state/pool/vault'), { recursive: true })
})

/** Slow enough that something can happen in between, fast enough to end. */
const slowly = (): VaultAccess => ({ ...access, bytesPerSecond: 4 * MiB, parallel: 2 })

const begun = async (told: { mock: { calls: unknown[][] } }): Promise<void> => {
  await vi.waitFor(() => expect(told.mock.calls.some(([news]) => (news as MoveProgress).doneBytes > 0)).toBe(true), 30_000)
}

describe('cut short', () => {
  beforeEach(() => volume.do('write -q -P 51 8M 8M'))

  test('a vault whose directory goes is said to be out of reach; nothing is listed that is not whole', async () => {
    const told = vi.fn()
    const request = await requestOf()
    const running = moverOf(agent).writeBackup(slowly(), request, told)
    running.catch(() => undefined)
    await begun(told)
    await rename(access.place.directory, `${access.place.directory}-away`)
    await expect(running).rejects.toMatchObject({ code: 'vaultUnreachable', kind: 'unavailable' })
    await expect(moverOf(agent).listBackups(access)).rejects.toMatchObject({ code: 'vaultUnreachable' })
    await rename(`${access.place.directory}-away`, access.place.directory)
    expect(await moverOf(agent).listBackups(access)).toEqual([])
    await moverOf(agent).writeBackup(access, request)
    expect(await moverOf(agent).listBackups(access)).toMatchObject([{ backup: request.of.backup }])
  })

  test.each(['mover', 'agent', 'storage daemon'] as const)(
    'the %s is killed, and the same call again makes it whole',
    async (victim) => {
      const told = vi.fn()
      const request = await requestOf()
      const running = moverOf(agent).writeBackup(slowly(), request, told)
      running.catch(() => undefined)
      await begun(told)
      expect(await workers(agent)).toHaveLength(2)
      if (victim === 'agent') {
        await agent.kill('SIGKILL')
        await expect(running).rejects.toMatchObject({ code: 'hostUnreachable' })
        await vi.waitFor(async () => expect(await workers(agent)).toEqual([]), 15_000)
        await agent.begin()
      } else {
        await killWorker(victim === 'mover' ? /mover\/main/ : /qemu-storage-daemon/)
        await expect(running).rejects.toMatchObject({ code: 'hostFailure' })
      }
      expect(await workers(agent)).toEqual([])
      expect(await moverOf(agent).hasBackup(access, request.of)).toBe(false)
      const { rootHash } = await moverOf(agent).writeBackup(access, request)
      const target = await volume.target()
      await moverOf(agent).restoreBackup(access, { of: request.of, rootHash, target })
      expect((await volume.bytesOf(target.layer)).equals(await volume.bytesOf(request.source.point.layer))).toBe(true)
    },
  )

  test.each(['mover', 'agent', 'storage daemon'] as const)('a restore whose %s is killed is done again', async (victim) => {
    const request = await requestOf()
    const { rootHash } = await moverOf(agent).writeBackup(access, request)
    const told = vi.fn()
    const target = await volume.target()
    const running = moverOf(agent).restoreBackup(slowly(), { of: request.of, rootHash, target }, told)
    running.catch(() => undefined)
    await begun(told)
    if (victim === 'agent') {
      await agent.kill('SIGKILL')
      await expect(running).rejects.toMatchObject({ code: 'hostUnreachable' })
      await agent.begin()
    } else {
      await killWorker(victim === 'mover' ? /mover\/main/ : /qemu-storage-daemon/)
      await expect(running).rejects.toMatchObject({ code: 'hostFailure' })
    }
    await moverOf(agent).restoreBackup(access, { of: request.of, rootHash, target })
    expect((await volume.bytesOf(target.layer)).equals(await volume.bytesOf(request.source.point.layer))).toBe(true)
  })

  async function killWorker(which: RegExp): Promise<void> {
    for (const pid of await readdir('/proc')) {
      const text = /^\d+$/.test(pid) ? await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '') : ''
      if (!text.includes(`=${exportsDirectory(agent.run)}\0`)) continue
      const command = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).replaceAll('\0', ' ')
      if (which.test(command)) process.kill(Number(pid), 'SIGKILL')
    }
  }

  test('a newer owner of the operation ends the older one; its packs can be taken away', async () => {
    const told = vi.fn()
    const request = await requestOf()
    const running = moverOf(agent, 11, 'operation:taken-over').writeBackup(slowly(), request, told)
    running.catch(() => undefined)
    await begun(told)
    await moverOf(agent, 12, 'operation:taken-over').discardBackup(access, request.of)
    await expect(running).rejects.toMatchObject({ code: 'staleEpoch' })
    expect(await workers(agent)).toEqual([])
    const left = await readdir(join(access.place.directory, 'volumes', volume.id), { recursive: true })
    expect(left.filter((name) => /\.(pack|manifest|index)$/.test(name))).toEqual([])
  })
})

test('the key is in no log, no argument and no environment, whatever happens', async () => {
  const told = vi.fn()
  await volume.do('write -q -P 51 8M 8M')
  const running = moverOf(agent).writeBackup(slowly(), await requestOf(), told)
  running.catch(() => undefined)
  await begun(told)
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name)))
    for (const file of ['environ', 'cmdline'])
      expect(await readFile(`/proc/${pid}/${file}`, 'latin1').catch(() => '')).not.toContain(access.key)
  await agent.kill('SIGKILL')
  await agent.begin()
  await moverOf(agent)
    .testVault({ ...access, key: `${access.key.slice(0, -4)}!!!!` })
    .catch(() => undefined)
  await moverOf(agent)
    .restoreBackup(access, { of: volume.ref(), rootHash: '', target: await volume.target() })
    .catch(() => undefined)
  for (const file of await readdir(agent.directory, { recursive: true, withFileTypes: true })) {
    if (!file.isFile()) continue
    expect(await readFile(join(file.parentPath, file.name), 'latin1')).not.toContain(access.key.slice(0, 40))
  }
  const vault = await readdir(access.place.directory, { recursive: true, withFileTypes: true })
  for (const file of vault.filter((one) => one.isFile()))
    expect(await readFile(join(file.parentPath, file.name), 'latin1')).not.toContain(access.key)
})

const noRoom = whyNoPowerCut()
describe.skipIf(noRoom !== null)(`without room${noRoom === null ? '' : ` (${noRoom})`}`, () => {
  let small: FragileDisk
  beforeAll(async () => {
    small = await FragileDisk.make(24 * MiB)
  })
  afterAll(() => small.end())

  test('a full vault is said, and lists nothing that is not whole', async () => {
    const place = join(small.mountpoint, 'vault')
    await mkdir(place)
    const full = vaultAt(place)
    await moverOf(agent).makeVault(full, identityOf(full))
    expect((await moverOf(agent).testVault(full)).sharesDiskWith).toEqual([])
    await fillAtRandom(volume, 24)
    const request = await requestOf()
    await expect(moverOf(agent).writeBackup(full, request)).rejects.toMatchObject({ code: 'vaultFull' })
    expect(await moverOf(agent).listBackups(full)).toEqual([])
    await moverOf(agent).discardBackup(full, request.of)
    await rm(place, { recursive: true })
  })

  test('a full pool is said; a restore that found no room is done again when there is some', async () => {
    const pool = join(small.mountpoint, 'pool')
    const third = await AgentProcess.start({ COMEBACK_POOL: pool })
    try {
      await fillAtRandom(volume, 24)
      const request = await requestOf()
      const { rootHash } = await moverOf(agent).writeBackup(access, request)
      const there = await TestVolume.make(third, size)
      const target = await there.target()
      await expect(moverOf(third).restoreBackup(access, { of: request.of, rootHash, target })).rejects.toMatchObject({
        code: 'poolFull',
        message: expect.stringContaining('local'),
      })
      expect(await workers(third)).toEqual([])
    } finally {
      await third.end()
    }
  })
})

/** So many MiB that do not compress. */
async function fillAtRandom(on: TestVolume, mib: number): Promise<void> {
  const random = join(directory, 'random')
  await writeFile(random, randomBytes(mib * MiB))
  await on.do(`write -q -s ${random} 0 ${mib}M`)
  await rm(random)
}
