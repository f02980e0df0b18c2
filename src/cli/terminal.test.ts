import { PassThrough } from 'node:stream'
import { setTimeout as wait } from 'node:timers/promises'
import { beforeAll, expect, test } from 'vitest'
import { type NativeServer, nativeServer, type TestUser } from '../../test/support/native-server.ts'
import type { InstanceId } from '../domain/ids.ts'
import { runCli } from './program.ts'

let server: NativeServer
let alice: TestUser
let web: InstanceId

beforeAll(async () => {
  server = await nativeServer()
  alice = await server.user('alice', 'blue', 'member')
  web = await server.instance(alice, 'web', 1)
})

const screen = () => Object.assign(new PassThrough(), { isTTY: true, columns: 60 })

/** As on a terminal: somebody who answers what is asked, and a screen. */
async function onTerminal(args: readonly string[], answer: string) {
  const [out, err, keyboard] = [screen(), screen(), screen()]
  let shown = ''
  err.on('data', (chunk: Buffer) => {
    shown += String(chunk)
    if (String(chunk).includes('Go on? [y/N]')) keyboard.write(`${answer}\n`)
  })
  const env = { OS_AUTH_URL: `${server.url}/identity/v3`, OS_USERNAME: 'alice', OS_PASSWORD: 'alice', OS_PROJECT_NAME: 'blue' }
  const code = await runCli(args, { out, err, in: keyboard, env, interrupted: new AbortController().signal })
  await wait(10)
  return { code, out: String(out.read() ?? ''), shown }
}

const cleared = '\r\u001b[K'

const operations = async () =>
  (await server.db.selectFrom('operations').select('id').where('instance_id', '=', web).execute()).length

test('on a terminal it says the consequence and asks; without a yes nothing is done', async () => {
  await onTerminal(['snapshot', 'create', 'web', 'A'], '')
  const before = await operations()
  const declined = await onTerminal(['rollback', 'web', 'A'], '')
  expect(declined.code).toBe(1)
  expect(declined.shown).toMatch(
    /web will be rolled back on vda and be off for about .*\. What the disks hold now is kept as a safety snapshot\.\nGo on\?/,
  )
  expect(declined.shown).toMatch(/Nothing was done\.\n$/)
  const lost = await onTerminal(['rollback', 'web', 'A', '--skip-safety-snapshot'], 'n')
  expect(lost.shown).toContain('What the disks hold now is LOST FOR GOOD.')
  expect(await operations()).toBe(before)
})

test('with a yes it goes on, and progress is one line that changes and goes', async () => {
  const { code, out, shown } = await onTerminal(['rollback', 'web', 'A'], 'y')
  expect(code).toBe(0)
  expect(out).toMatch(/^web is back at A: 1 disk\(s\)/)
  const drawn = shown.slice(shown.indexOf('rollback: ')).split(cleared)
  expect(drawn.length).toBeGreaterThan(5)
  expect(drawn.at(-1)).toBe('')
  for (const line of drawn) {
    expect(line).not.toContain('\n')
    expect(line.length).toBeLessThanOrEqual(60)
  }
})

test('--yes does not ask', async () => {
  const { code, shown } = await onTerminal(['undo', 'web', '--yes'], 'never asked')
  expect(code).toBe(0)
  expect(shown).not.toContain('Go on?')
})
