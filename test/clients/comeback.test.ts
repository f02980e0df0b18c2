import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { InstanceId } from '../../src/domain/ids.ts'
import type { MachineSpec } from '../../src/ports/host-agent.ts'
import { comebackIn, type Ran, type RunOptions, signInAs } from '../support/comeback-command.ts'
import { MemoryHost } from '../support/memory-host.ts'
import { type NativeServer, nativeServer, type TestUser } from '../support/native-server.ts'

let server: NativeServer
let alice: TestUser
let folder: string
/** While it is set, a machine is not started. */
let gate: Promise<void> | null = null

/** While it is set, machines are neither stopped nor started. */
let broken = false

class GatedHost extends MemoryHost {
  override async stopMachine(...how: Parameters<MemoryHost['stopMachine']>) {
    if (broken) throw new Error('broken on purpose')
    return await super.stopMachine(...how)
  }
  override async startMachine(spec: MachineSpec): Promise<void> {
    if (broken) throw new Error('broken on purpose')
    await gate
    await super.startMachine(spec)
  }
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cli-'))
  server = await nativeServer({ makeHost: (pools) => new GatedHost(pools) })
  alice = await server.user('alice', 'blue', 'member')
  await server.user('ruth', 'blue', 'reader')
})
afterAll(() => rm(folder, { recursive: true }))

const signedInAs = (name: string) => signInAs(server.url, name, name, 'blue')
const comeback = (args: readonly string[], options: RunOptions = {}) => comebackIn(folder, signedInAs('alice'))(args, options)

const parsed = ({ out }: Ran) => JSON.parse(out) as Record<string, never>

describe('a story', () => {
  let web: InstanceId
  beforeAll(async () => {
    web = await server.instance(alice, 'web')
  })

  test('snapshots, preflight, rollback, tree, undo: each says what happened and how to go on', async () => {
    const a = await comeback(['snapshot', 'create', 'web', 'before upgrade'])
    expect(a).toMatchObject({ code: 0 })
    expect(a.out).toMatch(/^Taken: [0-9a-f-]{36}\nConsistency: filesystem\n$/)
    expect(a.err).toMatch(/snapshot: record points done/)
    expect((await comeback(['snapshot', 'create', 'web', 'after', '--consistency', 'crash'])).code).toBe(0)

    const preflight = await comeback(['preflight', 'web', 'before upgrade'])
    expect(preflight).toMatchObject({ code: 0 })
    expect(preflight.out).toMatch(/can roll back +yes/)

    const rolledBack = await comeback(['rollback', 'web', 'before upgrade', '--hard'])
    expect(rolledBack).toMatchObject({ code: 0 })
    expect(rolledBack.out).toMatch(
      /^web is back at before upgrade: 2 disk\(s\), .* power on\.\nTo take it back: comeback undo [0-9a-f-]{36}\n$/,
    )

    const drawn = await comeback(['snapshots', 'web'])
    const tree = drawn.out.split('\n').map((line) => line.split(/ {2}\d{4}-/)[0]?.trimEnd())
    expect(tree.slice(1)).toEqual([
      expect.stringMatching(/^web/),
      '└─ before upgrade',
      '   ├─ after',
      '   │  └─ safety, before a rollback to before upgrade',
      '   └─ ● you are here',
      '',
    ])

    const undone = await comeback(['undo', 'web'])
    expect(undone).toMatchObject({ code: 0 })
    const { here, nodes } = parsed(await comeback(['snapshots', 'web', '-o', 'json'])) as unknown as {
      here: { node: string }[]
      nodes: { key: string; kind: string }[]
    }
    const [safety] = nodes.filter(({ kind }) => kind === 'safety')
    expect(here.map(({ node }) => node)).toEqual([safety?.key, safety?.key])
    expect((await comeback(['snapshot', 'delete', 'web', 'after'])).code).toBe(0)
  })

  test('lists and details come as tables and as JSON', async () => {
    expect((await comeback(['instances'])).out).toMatch(new RegExp(`^ID +NAME +STATE.*\n${web} +web +running`))
    expect(parsed(await comeback(['instances', 'show', 'web', '-o', 'json']))).toMatchObject({
      id: web,
      disks: [{ device: 'vda' }, { device: 'vdb' }],
    })
    expect((await comeback(['volumes'])).out).toMatch(/web vda/)
    const operations = parsed(await comeback(['operations', '--instance', 'web', '-o', 'json'])) as unknown as {
      items: { id: string }[]
    }
    const shown = await comeback(['operations', 'show', operations.items.at(-1)?.id ?? ''])
    expect(shown.out).toMatch(/kind +create instance\n/)
    expect((await comeback(['safety'])).out).toMatch(/vda/)
    const watched = await comeback(['watch', operations.items[0]?.id ?? '', '-o', 'json'])
    const types = watched.out
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { type: string }).type)
    expect([types[0], types.at(-1)]).toEqual(['created', 'ended'])
  })
})

describe('how it ends is said by the exit code', () => {
  test('1: refused, with the reason and the request', async () => {
    await server.instance(alice, 'plain')
    const nothing = await comeback(['undo', 'plain'])
    expect(nothing).toMatchObject({ code: 1, out: '' })
    expect(nothing.err).toBe('plain was never rolled back, so there is nothing to undo.\n')
    await comeback(['snapshot', 'create', 'plain', 'A', '--disk', 'vda'])
    const refused = await comeback(['rollback', 'plain', 'A', '--disk', 'vdb', '-o', 'json'])
    expect(refused.code).toBe(1)
    expect(JSON.parse(refused.err)).toMatchObject({
      error: { code: 'preflightFailed', request_id: expect.stringMatching(/^req-/) },
    })
  })

  test('1: some disks stand in the way, and how the others would go through is said', async () => {
    const id = await server.instance(alice, 'parted')
    await comeback(['snapshot', 'create', 'parted', 'A'])
    await comeback(['rollback', 'parted', 'A'])
    const of = await server.db.selectFrom('attachments').selectAll().where('instance_id', '=', id).orderBy('device').execute()
    await server.done(await server.commands.detachVolume(alice.caller, id, of[1]!.volume_id))
    const refused = await comeback(['rollback', 'parted', 'A'])
    expect(refused.code).toBe(1)
    expect(refused.err).toContain(`The others would go through with: --disk ${of[0]?.volume_id}\n`)
    expect(refused.err).toContain("ask for these by 'disks': vda.")
    expect((await comeback(['undo', 'parted'])).err).toContain('The others would go through with: --disk')
    const inJson = await comeback(['rollback', 'parted', 'A', '-o', 'json'])
    expect(JSON.parse(inJson.err).error.facts.errors).toMatchObject([
      { code: 'diskDetached', facts: { disks: [of[0]?.volume_id] } },
    ])
    expect((await comeback(['undo', 'parted', '--disk', 'vda'])).out).toMatch(/is taken back: 1 disk\(s\)/)
  })

  test('2: a command line that is wrong, or names nothing or several things', async () => {
    for (const args of [['rollback'], ['instances', 'show', 'nobody']]) {
      const ran = await comeback(args)
      expect([args, ran.code]).toEqual([args, 2])
      expect(ran.err).not.toMatch(/\bat .*\.ts:/)
    }
    await server.instance(alice, 'twin', 1)
    await server.instance(alice, 'twin', 1)
    const twins = await comeback(['instances', 'show', 'twin'])
    expect(twins.code).toBe(2)
    expect(twins.err).toMatch(/several instances 'twin'; name one by its id:\n {2}[0-9a-f-]{36} \(running\)\n/)
  })

  test('3: nothing answers', async () => {
    const ran = await comeback(['instances'], {
      env: { ...signedInAs('alice'), OS_AUTH_URL: 'http://127.0.0.1:9/identity/v3' },
    })
    expect(ran.code).toBe(3)
    expect(ran.err).toMatch(/^Nothing answers at http:\/\/127.0.0.1:9/)
  })

  test('4: nobody to sign in as, a wrong password, not allowed', async () => {
    expect(await comeback(['instances'], { env: {} })).toMatchObject({
      code: 4,
      err: expect.stringMatching(/^Nobody to sign in as/),
    })
    expect((await comeback(['instances'], { env: { ...signedInAs('alice'), OS_PASSWORD: 'wrong' } })).code).toBe(4)
    expect((await comeback(['audit'])).code).toBe(4)
    expect((await comeback(['snapshot', 'create', 'plain', 'B'], { env: signedInAs('ruth') })).code).toBe(4)
  })

  test('5: stuck, until an administrator ends it', async () => {
    await server.user('chief', 'blue', 'admin')
    const id = await server.instance(alice, 'stuck', 1)
    await comeback(['snapshot', 'create', 'stuck', 'A'])
    broken = true
    const ran = await comeback(['rollback', 'stuck', 'A'])
    expect(ran.code).toBe(5)
    const [, operation = ''] = /comeback operations force-end (\S+)/.exec(ran.err) ?? []
    // It is tried again now and then, and is not called stuck in the middle of that.
    const stuck = async () => (await comeback(['operations', '--state', 'stuck'])).out
    await expect.poll(stuck, { timeout: 60_000 }).toContain(operation)
    expect((await comeback(['operations', 'force-end', operation])).code).toBe(4)
    const ended = await comeback(['operations', 'force-end', operation], { env: signedInAs('chief') })
    broken = false
    expect(ended).toMatchObject({ err: '', code: 0, out: `Operation ${operation} is quarantined.\n` })
    expect(await comeback(['watch', operation])).toMatchObject({ code: 1, err: expect.stringMatching(/is quarantined/) })
    expect((await server.operations.holders([`instance:${id}`])).size).toBe(0)
  })

  test('130: interrupted while it waits; the operation goes on', async () => {
    await server.instance(alice, 'held')
    await comeback(['snapshot', 'create', 'held', 'A'])
    let open = () => {}
    gate = new Promise((resolve) => {
      open = resolve
    })
    const ran = await comeback(['rollback', 'held', 'A'], { interruptAfter: /start instance started/ })
    open()
    gate = null
    expect(ran.code).toBe(130)
    const [, id = ''] = /Operation (\S+) goes on/.exec(ran.err) ?? []
    const watched = await comeback(['watch', id])
    expect(watched).toMatchObject({ code: 0, out: expect.stringMatching(/state +done/) })
  })

  test('recover is for administrators, and says what it found', async () => {
    expect((await comeback(['recover', '--from-pools'])).code).toBe(4)
    await server.user('root', 'admins', 'admin')
    const ran = await comeback(['recover', '--from-pools'], { env: { ...signedInAs('root'), OS_PROJECT_NAME: 'admins' } })
    expect(ran).toMatchObject({
      code: 0,
      out: expect.stringMatching(/volumes added +0\nvolumes moved forward +0\nsnapshots added +0\n/),
    })
  })

  test('--no-wait returns at once, with the operation', async () => {
    await server.instance(alice, 'quick', 1)
    const ran = await comeback(['snapshot', 'create', 'quick', 'A', '--no-wait', '-o', 'json'])
    const { operation } = parsed(ran) as unknown as { operation: { id: never; state: string } }
    expect(operation.state).toMatch(/pending|running/)
    await server.operations.ended(operation.id)
  })
})

test('credentials come from a cloud by name, from OS_CLOUD, and from the state directory', async () => {
  const auth = { auth_url: `${server.url}/identity/v3`, username: 'alice', password: 'alice', project_name: 'blue' }
  await writeFile(join(folder, 'clouds.yaml'), JSON.stringify({ clouds: { mine: { auth } } }))
  const ran = await Promise.all([
    comeback(['instances', '--os-cloud', 'mine'], { env: {} }),
    comeback(['instances'], { env: { OS_CLOUD: 'mine' } }),
    comeback(['instances'], { env: { COMEBACK_STATE: folder } }),
  ])
  expect(ran.map(({ code }) => code)).toEqual([0, 0, 0])
  expect((await comeback(['instances', '--os-cloud', 'other'], { env: {} })).err).toMatch(/^No cloud 'other' in /)
})

test('names cannot steer the terminal', async () => {
  const id = await server.instance(alice, 'evil', 1)
  await server.db.updateTable('instances').set({ name: 'e\u001b[31mvil\u202e' }).where('id', '=', id).execute()
  const { out } = await comeback(['instances'])
  expect(out).toContain('e\ufffd[31mvil\ufffd')
  expect(out).not.toContain('\u001b')
})
