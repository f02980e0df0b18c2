/**
 * Snapshots of a real guest under write load, at each consistency, restored and judged from outside: by `e2fsck -fn` on what was
 * restored, which changes nothing and so finds a journal that was not empty, and by the guest's own numbered lines.
 */
import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Shell } from '../../src/launcher/guest/shell.ts'
import { comebackIn, signInAs } from '../support/comeback-command.ts'
import { Installation } from '../support/installation.ts'
import { type OpenStack, until } from '../support/openstack.ts'

const minutes = 60_000
const run = promisify(execFile)

let box: Installation
let cloud: OpenStack
let folder: string
let id: string
let guest: Shell
let disks: Record<string, string>

/** Besides the numbered lines, which are synced one by one: files that come and go and are not. */
const churn =
  'n=0; while :; do n=$(((n + 1) % 40)); for f in "" /data; do dd if=/dev/urandom of=$f/churn.$n bs=16k count=3 2>/dev/null; rm -f $f/churn.$(((n + 20) % 40)); done; done'

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'comeback-consistency-'))
  box = await Installation.start()
  cloud = await box.logIn()
  id = await cloud.createServer(await box.guestImage())
  guest = box.shell(id)
  disks = await cloud.disks(id)
  await until('the guest agent', async () => ((await guest.ask('pidof qemu-ga')).code === 0 ? true : null))
  await guest.run('writer start 1')
  await guest.run(`(${churn}) </dev/null >/dev/null 2>&1 &`)
  await acknowledged(5)
}, 10 * minutes)
afterAll(async () => {
  await box.end()
  await rm(folder, { recursive: true, force: true })
})

/** The last number that the guest has acknowledged, once there are so many more. */
async function acknowledged(more = 0): Promise<number> {
  const now = async () => Number(await guest.run('writer status'))
  const before = await now()
  return await until('acknowledged lines', async () => ((await now()) >= before + more ? await now() : null))
}

type Snapshot = { readonly id: string; readonly volume: string; readonly device: string }
type Taken = {
  readonly consistency: string
  readonly why: string | null
  readonly stall_ms: number
  readonly image: string
  readonly snapshots: readonly Snapshot[]
}

const operation = async (path: string, body: object) => {
  const { operation: begun } = await cloud.post<{ operation: { id: string } }>(path, body)
  const ended = await cloud.operationEnds(begun.id)
  expect(ended.state).toBe('done')
  return { id: begun.id, result: ended['result'] as Omit<Taken, 'snapshots'> }
}

async function take(consistency: string): Promise<Taken> {
  const { id: by, result } = await operation(`/v1/instances/${id}/snapshots`, { name: consistency, consistency })
  const { items } = await cloud.get<{ items: (Snapshot & { consistency: string; consistency_because: string | null })[] }>(
    `/v1/volume-snapshots?operation=${by}`,
  )
  for (const one of items) expect(one).toMatchObject({ consistency: result.consistency, consistency_because: result.why })
  return { ...result, snapshots: items.toSorted((a, b) => (a.device < b.device ? -1 : 1)) }
}

const newVolume = async ({ id: snapshot }: Snapshot): Promise<string> => {
  const made = await cloud.post<{ volume: string; operation: { id: string } }>('/v1/volumes', { source: { snapshot } })
  expect((await cloud.operationEnds(made.operation.id)).state).toBe('done')
  return made.volume
}

async function headOf(volume: string): Promise<string> {
  const client = new pg.Client({ connectionString: box.databaseUrl })
  await client.connect()
  try {
    const { rows } = await client.query<{ head: string }>('select head_layer_id as head from volumes where id = $1', [volume])
    return rows[0]?.head ?? ''
  } finally {
    await client.end()
  }
}

/** The volume's content as a raw file. */
async function exported(volume: string): Promise<string> {
  const head = await headOf(volume)
  const raw = join(folder, `${volume}.raw`)
  await run('qemu-img', ['convert', '-U', '-O', 'raw', join(box.state, 'pool/layers', `${head}.qcow2`), raw], {
    timeout: 5 * minutes,
  })
  return raw
}

/** Clean: nothing to repair, nothing to replay. */
async function check(raw: string): Promise<{ clean: boolean; said: string }> {
  const options = { timeout: 5 * minutes, maxBuffer: 2 ** 26 }
  const { stdout: header } = await run('dumpe2fs', ['-h', raw], options)
  const found = await run('e2fsck', ['-fn', raw], options).then(
    ({ stdout, stderr }) => ({ code: 0, said: stdout + stderr }),
    (error: { code?: number; stdout?: string; stderr?: string }) => ({
      code: error.code,
      said: `${error.stdout}${error.stderr}`,
    }),
  )
  const replays = /needs_recovery/.test(header) || /journal recovery/.test(found.said)
  return { clean: found.code === 0 && !replays, said: found.said }
}

/** The last whole line in the numbered file, as it lies there. */
async function lastLine(raw: string): Promise<number> {
  const { stdout } = await run('debugfs', ['-R', 'cat /writer.log', raw], { timeout: minutes, maxBuffer: 2 ** 28 })
  const [number, tag, sum] = (stdout.trimEnd().split('\n').at(-1) ?? '').split(' ').map(Number)
  expect(sum).toBe((Number(number) * 48271 + Number(tag) * 16807) % 2147483647)
  return Number(number)
}

const hooksRun = async (): Promise<string[]> =>
  (await guest.run('cat /run/fsfreeze-hook.log 2>/dev/null; true')).split('\n').map((line) => line.split(' ')[0] ?? '')
const forgetHooks = () => guest.run('rm -f /run/fsfreeze-hook.log')

test('application: hooks ran before and after, both restored disks are clean and end with the same line', {
  timeout: 10 * minutes,
}, async () => {
  await forgetHooks()
  const before = await acknowledged(3)
  const taken = await take('application')
  expect(taken).toMatchObject({ consistency: 'application', why: null })
  expect(await hooksRun()).toEqual(['freeze', 'thaw'])
  await acknowledged(3)
  const ends: number[] = []
  for (const snapshot of taken.snapshots) {
    const raw = await exported(await newVolume(snapshot))
    const { clean, said } = await check(raw)
    expect(clean, said).toBe(true)
    ends.push(await lastLine(raw))
  }
  expect(ends).toHaveLength(2)
  expect(new Set(ends).size).toBe(1)
  expect(ends[0]).toBeGreaterThanOrEqual(before)
  console.log(`application: stall ${taken.stall_ms} ms, lines ${before} before, ${ends.join()} restored`)
})

test('filesystem: both restored disks are clean and keep what was acknowledged', { timeout: 10 * minutes }, async () => {
  const before = await acknowledged(3)
  const taken = await take('filesystem')
  expect(taken).toMatchObject({ consistency: 'filesystem', why: null })
  for (const snapshot of taken.snapshots) {
    const raw = await exported(await newVolume(snapshot))
    const { clean, said } = await check(raw)
    expect(clean, said).toBe(true)
    expect(await lastLine(raw)).toBeGreaterThanOrEqual(before)
  }
  console.log(`filesystem: stall ${taken.stall_ms} ms`)
})

test('crash: the same check finds a journal to replay; after that every acknowledged line is there', {
  timeout: 10 * minutes,
}, async () => {
  const before = await acknowledged(3)
  const taken = await take('crash')
  expect(taken).toMatchObject({ consistency: 'crash', why: null })
  for (const snapshot of taken.snapshots) {
    const raw = await exported(await newVolume(snapshot))
    expect((await check(raw)).clean).toBe(false)
    // 1: it was repaired, which a replay counts as.
    await run('e2fsck', ['-fy', raw], { timeout: 5 * minutes }).catch((error: { code?: number }) => expect(error.code).toBe(1))
    expect((await check(raw)).clean).toBe(true)
    expect(await lastLine(raw)).toBeGreaterThanOrEqual(before)
  }
  console.log(`crash: stall ${taken.stall_ms} ms`)
})

test('a snapshot of one volume of a running machine freezes the whole guest', { timeout: 10 * minutes }, async () => {
  await forgetHooks()
  const before = await acknowledged(3)
  const { result } = await operation('/v1/volume-snapshots', { volume: disks['vdb'], name: 'one', consistency: 'application' })
  expect(result).toMatchObject({ consistency: 'application', why: null })
  expect(await hooksRun()).toEqual(['freeze', 'thaw'])
  const { items } = await cloud.get<{ items: (Snapshot & { name: string })[] }>(`/v1/volume-snapshots?volume=${disks['vdb']}`)
  const raw = await exported(await newVolume(items.find(({ name }) => name === 'one')!))
  const { clean, said } = await check(raw)
  expect(clean, said).toBe(true)
  expect(await lastLine(raw)).toBeGreaterThanOrEqual(before)
})

test('an agent without hooks, and none at all: less, and why, in the answer, the image and the command line', {
  timeout: 10 * minutes,
}, async () => {
  const agent = (options: string) => guest.run(`${options}; killall -q -9 qemu-ga; sleep 2`)
  await agent('echo >/run/qemu-ga.options')
  const plain = await take('application')
  expect(plain).toMatchObject({ consistency: 'filesystem', why: expect.stringContaining('no freeze hook') })
  await agent('rm /run/qemu-ga.options')
  const none = await take('application')
  expect(none).toMatchObject({ consistency: 'crash', why: 'The guest runs no guest agent.' })
  expect(await cloud.get(`/image/v2/images/${none.image}`)).toMatchObject({
    xloud_consistency: 'crash',
    xloud_consistency_why: none.why,
  })
  const comeback = comebackIn(folder, signInAs(box.url, 'admin', box.password, 'admin'))
  const tree = await comeback(['snapshots', id])
  expect(tree.out).toMatch(/application +\S.*\bcrash\b/)
  expect(tree.out).toContain('application is crash: The guest runs no guest agent.')
  expect((await comeback(['volumes', 'show', disks['vdb'] ?? ''])).out).toContain('crash: The guest runs no guest agent.')
  const created = await comeback(['snapshot', 'create', id, 'by hand', '--consistency', 'application'])
  expect(created.out).toContain('Consistency: crash: The guest runs no guest agent.')
  await agent('echo -F/etc/qemu/fsfreeze-hook >/run/qemu-ga.options')
})

test('rolled back to an application-consistent snapshot, the disks are clean before anybody starts them', {
  timeout: 10 * minutes,
}, async () => {
  const before = await acknowledged(3)
  const taken = await take('application')
  expect(taken.consistency).toBe('application')
  await acknowledged(3)
  await cloud.rollBack(id, taken.image, { power_state_after: 'off' })
  const ends: number[] = []
  for (const { volume } of taken.snapshots) {
    const raw = await exported(volume)
    const { clean, said } = await check(raw)
    expect(clean, said).toBe(true)
    ends.push(await lastLine(raw))
  }
  expect(new Set(ends).size).toBe(1)
  expect(ends[0]).toBeGreaterThanOrEqual(before)
})

test('a machine that its guest shut down: whole file systems, and e2fsck agrees', { timeout: 10 * minutes }, async () => {
  await cloud.startServer(id)
  await guest.run('writer start 2')
  const before = await acknowledged(3)
  await cloud.stopServer(id)
  const taken = await take('filesystem')
  expect(taken).toMatchObject({ consistency: 'filesystem', why: null })
  for (const snapshot of taken.snapshots) {
    const raw = await exported(await newVolume(snapshot))
    const { clean, said } = await check(raw)
    expect(clean, said).toBe(true)
    expect(await lastLine(raw)).toBeGreaterThanOrEqual(before)
  }
})
