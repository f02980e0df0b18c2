/**
 * A bad month, as somebody new to it would live through it: a machine is backed up while it runs, changes, is stopped and restored
 * in place, and its guest reads its old words. A disk goes to a second pool and back. Then the whole state directory is gone: a new
 * installation takes the vault in with its recovery key, and a new guest reads the old disk. At the end there is no controller at
 * all, and the vault is read with the command alone. Everything is done with the `comeback` command where it can be.
 */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Shell } from '../../src/launcher/guest/shell.ts'
import { AgentProcess } from '../support/agent-process.ts'
import { comebackIn, type Ran, signInAs } from '../support/comeback-command.ts'
import { Installation } from '../support/installation.ts'
import type { OpenStack } from '../support/openstack.ts'
import type { Json } from '../support/people.ts'
import { readContent, writeContent } from '../support/two-disks.ts'

const minutes = 60_000
const run = promisify(execFile)

let folder: string
let vault: string
let key: string
let box: Installation
let second: AgentProcess | undefined
let cloud: OpenStack
let id: string
let guest: Shell
let comeback: (args: readonly string[]) => Promise<Ran>
const contents = new Map<'A' | 'B' | 'C', string>()
/** Ids of backups, by the words of the story. */
const kept = new Map<string, string>()

const backupOf = (word: string): string => {
  const found = kept.get(word)
  if (found === undefined) throw new Error(`there is no backup '${word}'`)
  return found
}

async function commandOf(installation: Installation) {
  const password = (await readFile(join(installation.state, 'admin-password'), 'utf8')).trim()
  return comebackIn(folder, signInAs(installation.url, 'admin', password, 'admin'))
}

/** What it printed; a command that does not end well is an error with its words. */
async function well(...args: string[]): Promise<string> {
  const { code, out, err } = await comeback(args)
  if (code !== 0) throw new Error(`comeback ${args.join(' ')} ended with ${code}: ${err}`)
  return out
}
const asked = async (...args: string[]): Promise<Json> => JSON.parse(await well(...args, '-o', 'json'))

async function backUpDisks(word: string): Promise<Json[]> {
  const { backups } = await asked('instances', 'backup', id, word)
  for (const one of backups) kept.set(`${word} ${one.instance.device}`, one.id)
  return backups
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'backup-story-'))
  vault = join(folder, 'vault')
  key = join(folder, 'key.txt')
  await run('mkdir', ['-m', '0755', vault])
  await chmod(folder, 0o755)
  box = await Installation.start()
  second = await AgentProcess.start({ COMEBACK_POOL_NAME: 'second' })
  await box.kill('controller')
  await box.up({ COMEBACK_AGENTS: `unix:${join(box.run, 'agent.sock')},unix:${join(second.run, 'agent.sock')}` })
  comeback = await commandOf(box)
  cloud = await box.logIn()
  id = await cloud.createServer(await box.guestImage())
  guest = box.shell(id)
}, 10 * minutes)

afterAll(async () => {
  await second?.end()
  await box?.end()
  await rm(folder, { recursive: true, force: true })
}, 2 * minutes)

test(
  'a vault is made, tested, and its key kept',
  async () => {
    await well('vault', 'create', 'main', vault, '--save-key', key)
    expect(await well('vault', 'test', 'main')).toMatch(/^It works\. Free: /)
    expect((await asked('vault', 'show', 'main')).default).toBe(true)
  },
  2 * minutes,
)

test(
  'backed up while it runs: all disks of one moment; the second time only changes are read',
  async () => {
    contents.set('A', await writeContent(guest, 'A'))
    const first = await backUpDisks('A')
    expect(first.map(({ state, changes_since }) => [state, changes_since])).toEqual([
      ['available', null],
      ['available', null],
    ])
    contents.set('B', await writeContent(guest, 'B'))
    const later = await backUpDisks('B')
    for (const one of later) {
      const before = first.find(({ volume }) => volume === one.volume)
      expect(one.changes_since).toBe(before.id)
      expect(one.read_bytes).toBeLessThan(before.read_bytes)
    }
    contents.set('C', await writeContent(guest, 'C'))
  },
  10 * minutes,
)

test(
  'stopped, restored in place, started: the guest reads its old words; undo brings the newer ones back',
  async () => {
    const running = await comeback(['backups', 'restore', backupOf('A vda')])
    expect(running.err).toMatch(/^Cannot restore in-place while attached to a running instance/)
    await cloud.stopServer(id)
    const operations: string[] = []
    for (const device of ['vda', 'vdb'])
      operations.push((await asked('backups', 'restore', backupOf(`A ${device}`))).operation.id)
    await cloud.startServer(id)
    expect(await readContent(guest)).toBe(contents.get('A'))
    await cloud.stopServer(id)
    for (const operation of operations) await well('undo', operation)
    await cloud.startServer(id)
    expect(await readContent(guest)).toBe(contents.get('C'))
  },
  10 * minutes,
)

test(
  'a disk goes to a pool of another host, is backed up there, and comes back',
  async () => {
    const pools = await asked('pools')
    expect(pools.items.map(({ name }: Json) => name).toSorted()).toEqual(['local', 'second'])
    const { volume: there } = await asked('backups', 'restore', backupOf('B vdb'), '--new', 'there', '--pool', 'second')
    expect(await asked('volumes', 'show', there)).toMatchObject({ name: 'there', state: 'ready' })
    const { backup } = await asked('volumes', 'backup', there, 'from-there')
    expect(backup).toMatchObject({ state: 'available', volume: there })
    kept.set('from there', backup.id)
    const { volume: back } = await asked('backups', 'restore', backup.id, '--new', 'back', '--pool', 'local')
    await cloud.post(`/compute/v2.1/servers/${id}/os-volume_attachments`, { volumeAttachment: { volumeId: back } })
    expect(await wordsOn(guest, 'vdc')).toContain('B ')
  },
  10 * minutes,
)

/** The name that was written on a data disk of the story, read from a disk that is mounted for it. */
const wordsOn = (shell: Shell, device: string): Promise<string> =>
  shell.run(`mkdir -p /old && mount -t ext4 /dev/${device} /old && cat /old/kept/name && umount /old`)

test(
  'everything is gone but the vault and its key: a new installation lists the old backups, and a new guest reads the old disk',
  async () => {
    await cloud.stopServer(id)
    const [atRest] = (await backUpDisks('at rest')).filter(({ instance }) => instance.device === 'vdb')
    await box.end()
    await second?.end()
    second = undefined

    box = await Installation.start()
    comeback = await commandOf(box)
    cloud = await box.logIn()
    const mistyped = await comeback(['vault', 'add', 'main', vault, '--key-file', join(box.state, 'admin-password')])
    expect(mistyped.err).toMatch(/^This recovery key does not open the vault: /)
    await well('vault', 'add', 'main', vault, '--key-file', key)
    expect(await well('recover', '--from-vault', 'main')).toMatch(/^backups added +8\nbackups mended +0\n$/)
    const { items } = await asked('backups', '--all-projects')
    expect(items.map((one: Json) => one.id).toSorted()).toEqual([...kept.values()].toSorted())
    const old = items.find((one: Json) => one.id === backupOf('A vdb'))
    expect(old).toMatchObject({ state: 'available', name: 'A', volume_exists: false, consistency: 'crash' })
    const { volume } = await asked('backups', 'restore', old.id, '--new', 'data')
    expect((await asked('backups', 'show', atRest.id)).root_hash).toBe(atRest.root_hash)

    id = await cloud.createServer({ ...(await box.guestImage()), dataDisks: 0 })
    guest = box.shell(id)
    await cloud.post(`/compute/v2.1/servers/${id}/os-volume_attachments`, { volumeAttachment: { volumeId: volume } })
    expect(await wordsOn(guest, 'vdb')).toContain('A ')
    expect(await well('vault', 'verify', 'main')).toMatch(/^8 backups proved, /)
  },
  15 * minutes,
)

test(
  'with no controller at all the vault is read by the command alone, byte for byte',
  async () => {
    const { volume } = await asked('backups', 'restore', backupOf('at rest vdb'), '--new', 'judge')
    const layer = await headOf(volume)
    const judge = join(folder, 'judge.raw')
    await run('qemu-img', ['convert', '-U', '-O', 'raw', layer, judge], { timeout: 2 * minutes })
    await box.end()
    const bare = comebackIn(folder, {})
    const listed = await bare(['vault', 'extract', vault, '--key-file', key])
    expect(listed.out).toContain(backupOf('A vda'))
    const raw = join(folder, 'rest.raw')
    const ran = await bare(['vault', 'extract', vault, backupOf('at rest vdb'), raw, '--key-file', key])
    expect(ran).toMatchObject({ code: 0, out: expect.stringContaining('every block proved') })
    expect(await digestOf(raw)).toBe(await digestOf(judge))
    const qcow2 = join(folder, 'rest.qcow2')
    expect((await bare(['vault', 'extract', vault, backupOf('at rest vdb'), qcow2, '--key-file', key])).code).toBe(0)
    await run('qemu-img', ['compare', '-f', 'raw', '-F', 'qcow2', raw, qcow2], { timeout: 2 * minutes })
  },
  10 * minutes,
)

/** File of the layer that the volume is written in. */
async function headOf(volume: string): Promise<string> {
  const { connect } = await import('../../src/adapters/database/connect.ts')
  const database = connect(box.databaseUrl)
  try {
    const { rows } = await database.query<{ head: string }>('select head_layer_id as head from volumes where id = $1', [volume])
    return join(box.state, 'pool/layers', `${rows[0]?.head}.qcow2`)
  } finally {
    await database.end()
  }
}

async function digestOf(file: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer)
  return hash.digest('hex')
}
