/**
 * A guest with two disks walks over a tree of its snapshots, A → C → B → A → D with branches, and reads the same bytes each time:
 * files of both disks, and a region that no file system knows of. Then the points go, in several orders, while layers are merged
 * behind its back, and at the end every layer and both file systems are whole.
 *
 *      image ── A ── B ── C          D was taken after going back to A; after each step of the walk the guest writes on,
 *               └─── D               so every way leaves a branch of its own behind, held by safety snapshots.
 */
import { execFile } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { connect } from '../../src/adapters/database/connect.ts'
import type { Shell } from '../../src/launcher/guest/shell.ts'
import { isAtRest } from '../support/at-rest.ts'
import { Installation } from '../support/installation.ts'
import { type OpenStack, until } from '../support/openstack.ts'
import { readContent, writeContent } from '../support/two-disks.ts'

const minutes = 60_000
const run = promisify(execFile)

type Name = 'A' | 'B' | 'C' | 'D'

let box: Installation
let database: pg.Pool
let cloud: OpenStack
let id: string
let guest: Shell
const snapshots = new Map<Name, string>()
const contents = new Map<Name, string>()

beforeAll(async () => {
  box = await Installation.start()
  database = connect(box.databaseUrl)
  cloud = await box.logIn()
  id = await cloud.createServer(await box.guestImage())
  guest = box.shell(id)
  // The file system takes half of the second disk; the rest is the raw region's.
  await guest.run('umount /data && /usr/sbin/mke2fs -q -F -t ext4 -e remount-ro /dev/vdb 512m && mount -t ext4 /dev/vdb /data')
}, 10 * minutes)
afterAll(async () => {
  await database?.end()
  await box.end()
})

const write = async (name: string): Promise<string> => {
  await guest.run(
    `dd if=/dev/urandom of=/dev/vdb bs=64k seek=${9600 + randomInt(128)} count=${1 + randomInt(16)} conv=fsync 2>/dev/null`,
  )
  await writeContent(guest, name)
  return await read()
}
const read = async (): Promise<string> =>
  `${await readContent(guest)}\nraw ${await guest.run('dd if=/dev/vdb bs=64k skip=9600 count=160 2>/dev/null | sha256sum')}`

const take = async (name: Name): Promise<void> => {
  contents.set(name, await write(name))
  snapshots.set(name, await cloud.snapshotServer(id, name))
}
const goTo = async (name: Name): Promise<void> => {
  await cloud.rollBack(id, snapshots.get(name) ?? '')
  expect(await read()).toBe(contents.get(name))
}

const rows = async <Row extends pg.QueryResultRow>(text: string): Promise<Row[]> => (await database.query<Row>(text)).rows
const merged = async (): Promise<number> =>
  (await rows<{ n: number }>(`select count(*)::int as n from operations where kind = 'merge-layers' and state = 'done'`))[0]
    ?.n ?? 0

const quiet = (): Promise<unknown> =>
  until('the background work to end', () => isAtRest(database).then((rests) => rests || null), 8 * minutes)

const remove = async (name: Name): Promise<void> => {
  await cloud.remove(`/image/v2/images/${snapshots.get(name)}`)
  snapshots.delete(name)
}
async function removeSafety(): Promise<void> {
  const { snapshots: all } = await cloud.get<{ snapshots: { id: string; name: string }[] }>(
    cloud.volumePath('/snapshots?limit=1000'),
  )
  for (const one of all.filter(({ name }) => name.startsWith('_xloud_safety_')))
    await until('the safety snapshot to go', async () =>
      (await cloud.ask('DELETE', cloud.volumePath(`/snapshots/${one.id}`))).status < 300 ? true : null,
    )
}

test('every point of the tree is reached from everywhere', { timeout: 20 * minutes }, async () => {
  await take('A')
  await take('B')
  await take('C')
  await write('left behind')
  await goTo('A')
  await take('D')
  for (const name of ['A', 'C', 'B', 'A', 'D'] as const) {
    await goTo(name)
    await write(`after ${name}`)
  }
})

test('points go in any order while layers are merged, and the others stay what they were', {
  timeout: 30 * minutes,
}, async () => {
  const before = await merged()
  await remove('B')
  await goTo('C')
  await removeSafety()
  await quiet()
  await goTo('A')
  await remove('C')
  const running = await write('while merging')
  await removeSafety()
  await quiet()
  expect(await read()).toBe(running)
  await goTo('D')
  await remove('A')
  await removeSafety()
  await quiet()
  await goTo('D')
  await remove('D')
  await removeSafety()
  await quiet()
  expect(await read()).toBe(contents.get('D'))
  expect(await merged()).toBeGreaterThan(before)
  const chains = await rows<{ n: number }>('select count(*)::int as n from layers')
  expect(chains[0]?.n).toBe(3)
})

test('at the end every layer is whole, and so are both file systems', { timeout: 10 * minutes }, async () => {
  const content = await read()
  await cloud.stopServer(id)
  const layers = join(box.state, 'pool/layers')
  const names = (await readdir(layers)).filter((name) => name.endsWith('.qcow2'))
  expect(names.length).toBeGreaterThanOrEqual(3)
  for (const name of names) await run('qemu-img', ['check', '-q', join(layers, name)], { timeout: 2 * minutes })
  const heads = await rows<{ head: string }>('select head_layer_id as head from volumes where deleted_at is null')
  expect(heads).toHaveLength(2)
  for (const { head } of heads) {
    const raw = join(box.state, 'head.raw')
    await run('qemu-img', ['convert', '-O', 'raw', join(layers, `${head}.qcow2`), raw], { timeout: 5 * minutes })
    const { stdout } = await run('e2fsck', ['-fn', raw], { timeout: 2 * minutes })
    expect(stdout).not.toMatch(/not clean|error|corrupt/i)
    await rm(raw)
  }
  expect(await box.console(id)).not.toMatch(/EXT4-fs.*(error|warning)|I\/O error|corrupt/i)
  await cloud.startServer(id)
  expect(await read()).toBe(content)
})
