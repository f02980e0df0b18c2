/** Calls about vaults from a controller's proxy through the agent's door to a mover and back. */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { createServer, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { quietLog } from '../../../test/support/quiet-log.ts'
import { HttpMover } from '../../adapters/host-agent/mover.ts'
import { Transport } from '../../adapters/host-agent/transport.ts'
import { newId, type OperationId, type RequestId } from '../../domain/ids.ts'
import type { MoveProgress, VaultAccess } from '../../ports/vault-mover.ts'
import { Fences } from '../fences.ts'
import { AgentServer, type ServerParts } from '../server.ts'
import { Movers } from './movers.ts'

const program = new URL('../../../test/support/stand-ins/mover.ts', import.meta.url).pathname
const key = Buffer.from('thirty-two bytes that are secret').toString('base64')

let directory: string
let server: AgentServer
let fences: Fences
let transport: Transport
let log: ReturnType<typeof quietLog>

/** What the server asks of pino. */
const asPino = (quiet: object): ServerParts['log'] => Object.assign(quiet, { child: () => quiet }) as never

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'mover-'))
  log = quietLog()
  const environment = { runDirectory: join(directory, 'run'), stateDirectory: join(directory, 'state') }
  const users = { qemuUser: null, lowUser: null }
  const movers = new Movers({ ...environment, ...users, log, pools: new Map(), program, patienceMs: 0, silenceMs: 30_000 })
  fences = await Fences.open(join(directory, 'epochs'))
  const others = { machines: {} as never, pools: new Map(), events: {} as never, hello: () => ({ name: 'test' }) as never }
  server = new AgentServer({ ...others, movers, fences, log: asPino(log) })
  await server.listen({ over: 'unix', path: join(directory, 's') })
  transport = new Transport('test', { over: 'unix', path: join(directory, 's') })
})
afterEach(async () => {
  transport.close()
  await server.close()
  await fences.close()
  await rm(directory, { recursive: true })
})

const operation = newId<OperationId>()
const mover = (epoch = 1): HttpMover =>
  new HttpMover(transport, { fence: { resource: 'operation:test', epoch, operation }, requestId: 'req-test' as RequestId })

const accessAt = (place: string): VaultAccess => ({
  vault: newId(),
  place: { kind: 'directory', directory: place.startsWith('/') ? place : `/srv/${place}` },
  key,
  bytesPerSecond: null,
  parallel: 4,
})
const aBackup = () => ({ volume: newId(), backup: newId(), project: newId() }) as never

/** Movers that work for this test's agent. */
async function workers(): Promise<number> {
  const environments = await Promise.all(
    (await readdir('/proc')).map((pid) => readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '')),
  )
  return environments.filter((text) => text.includes(`${directory}/run/x`)).length
}

test('an answer and a refusal come through as they were', async () => {
  expect(await mover().testVault(accessAt('answers'))).toEqual({ freeBytes: 7, sharesDiskWith: [] })
  await expect(mover().testVault(accessAt('refuses'))).rejects.toMatchObject({
    code: 'backupDamaged',
    kind: 'unavailable',
    facts: { backups: ['a', 'b'] },
  })
  expect(
    await mover()
      .readIdentity({ kind: 'directory', directory: '/srv/nothing' })
      .catch((error) => error.message),
  ).toContain('Invalid')
})

test('a call that takes long says how far it is; refused after that, it is still a refusal', async () => {
  const told: MoveProgress[] = []
  const access = accessAt('refuses-late')
  await expect(mover().verify(access, null, (news) => told.push(news))).rejects.toMatchObject({ code: 'backupDamaged' })
  expect(told.length).toBeGreaterThan(0)
  expect(told.at(-1)).toEqual({ doneBytes: 1, totalBytes: 3, bytesPerSecond: 2 })
})

test('a vault may not lie where the agent keeps its own, and its path must be plain', async () => {
  await expect(mover().testVault(accessAt(join(directory, 'state/vault')))).rejects.toMatchObject({ code: 'vaultPlaceRefused' })
  await expect(mover().testVault(accessAt('/srv/../etc'))).rejects.toMatchObject({ code: 'vaultPlaceRefused', kind: 'invalid' })
})

test('what changes something needs a fence', async () => {
  const unfenced = new HttpMover(transport, null)
  await expect(unfenced.discardBackup(accessAt('answers'), aBackup())).rejects.toMatchObject({ code: 'malformed' })
})

test('when the caller hangs up the job is killed, and the next call waits until it is', async () => {
  const enough = new AbortController()
  const running = mover().sweepVolume(accessAt('works'), newId(), enough.signal)
  await vi.waitFor(async () => expect(await workers()).toBe(1), 15_000)
  enough.abort(new Error('never mind'))
  await expect(running).rejects.toThrow('never mind')
  await mover().testVault(accessAt('answers'))
  expect(await workers()).toBe(0)
})

test('a newer owner ends what the older one has under way, before anything else is done', async () => {
  const running = mover(1).sweepVolume(accessAt('works'), newId())
  running.catch(() => undefined)
  await vi.waitFor(async () => expect(await workers()).toBe(1), 15_000)
  await mover(2).discardBackup(accessAt('does-nothing'), aBackup())
  await expect(running).rejects.toMatchObject({ code: 'staleEpoch' })
  await expect(mover(1).discardBackup(accessAt('does-nothing'), aBackup())).rejects.toMatchObject({ code: 'staleEpoch' })
  expect(await workers()).toBe(0)
})

test('an agent that closes ends the jobs', async () => {
  const running = mover().verify(accessAt('works'), null)
  running.catch(() => undefined)
  await vi.waitFor(async () => expect(await workers()).toBe(1), 15_000)
  await server.close()
  await expect(running).rejects.toMatchObject({ kind: 'unavailable' })
  await vi.waitFor(async () => expect(await workers()).toBe(0), 15_000)
})

test('no key is in the log', async () => {
  await mover().testVault(accessAt('answers'))
  await mover()
    .testVault(accessAt('fails'))
    .catch(() => undefined)
  await mover()
    .testVault({ ...accessAt('answers'), key: `${key}x` })
    .catch(() => undefined)
  expect(log.lines.length).toBeGreaterThan(0)
  expect(JSON.stringify(log.lines)).not.toContain(key)
})

test.each<[string, (response: ServerResponse) => void]>([
  ['never answers', () => undefined],
  [
    'begins and falls silent',
    (response) => void response.writeHead(200).write('{"progress":{"doneBytes":0,"totalBytes":0,"bytesPerSecond":0}}\n'),
  ],
  ['breaks off', (response) => void response.writeHead(200).write('{"progress":', () => response.destroy())],
  ['ends without a result', (response) => void response.writeHead(200).end()],
])('an agent that %s is out of reach, and what became of the call is unknown', async (_, answers) => {
  const agent = createServer((_request, response) => answers(response))
  const path = join(directory, 'other')
  await new Promise<void>((resolve) => agent.listen(path, resolve))
  const silent = new HttpMover(new Transport('test', { over: 'unix', path }), null, 300)
  await expect(silent.verify(accessAt('answers'), null)).rejects.toMatchObject({ code: 'hostUnreachable' })
  agent.closeAllConnections()
  agent.close()
})
