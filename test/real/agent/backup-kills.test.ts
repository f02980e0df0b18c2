/** The mover, and the agent, killed at every named place of a backup and of a restore: then the same call again makes it whole. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { exists } from '../../../src/adapters/storage/qcow2/durable.ts'
import { failpoints } from '../../../src/failpoints.ts'
import type { SourcePoint, VaultAccess, WriteBackup } from '../../../src/ports/vault-mover.ts'
import { AgentProcess } from '../../support/agent-process.ts'
import { backupFacts, identityOf, moverOf, TestVolume, vaultAt } from '../../support/agent-vault.ts'
import { MiB } from '../../support/real-guest.ts'

const size = 32 * MiB
const points = failpoints.filter((name) => /^(mover|agent\.mover)\./.test(name))
const ofWriting = points.filter((name) => !/restore|remove/.test(name))
const ofRestoring = points.filter((name) => /restore|^agent/.test(name))

let directory: string
let armed: string
let agent: AgentProcess
let access: VaultAccess
let volume: TestVolume
let before: WriteBackup

const request = (source: SourcePoint, previous: WriteBackup['previous']): WriteBackup => ({
  of: volume.ref(),
  source,
  previous,
  facts: backupFacts,
})

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'comeback-kills-'))
  armed = join(directory, 'armed')
  for (const name of ['armed', 'vault']) await mkdir(join(directory, name))
  agent = await AgentProcess.start({ COMEBACK_FAILPOINTS_DIR: armed })
  access = vaultAt(join(directory, 'vault'))
  await moverOf(agent).makeVault(access, identityOf(access))
  volume = await TestVolume.make(agent, size)
  await volume.do('write -q -P 17 0 3M')
  before = request(await volume.point(), null)
  await moverOf(agent).writeBackup(access, before)
})
afterAll(async () => {
  await agent.end()
  await rm(directory, { recursive: true, force: true })
})

type Victim = 'mover' | 'agent'

/** Runs the call, kills the victim at the point, and waits until nothing of it is left. */
async function killedAt(point: string, victim: Victim, call: () => Promise<unknown>): Promise<void> {
  const isOwn = victim === 'agent' ? point.startsWith('agent') : point.startsWith('mover')
  await writeFile(join(armed, point), isOwn ? 'kill' : 'pause')
  const running = call()
  const ended = running.then(
    () => null,
    (error: unknown) => error,
  )
  await vi.waitFor(async () => expect(await exists(join(armed, `${point}.reached`))).toBe(true), 30_000)
  if (!isOwn) await agent.kill('SIGKILL')
  expect(await ended).toMatchObject({ kind: 'unavailable' })
  await rm(join(armed, `${point}.reached`), { force: true })
  if (victim === 'agent') {
    await agent.died()
    await agent.begin()
  }
}

const cases = (of: readonly string[]): [Victim, string][] =>
  of.flatMap((point): [Victim, string][] =>
    point.startsWith('agent')
      ? [['agent', point]]
      : [
          ['mover', point],
          ['agent', point],
        ],
  )

let counted = 0
test.each(cases(ofWriting))('a backup: the %s is killed at %s', async (victim, point) => {
  const fill = ++counted
  await volume.do(`write -q -P ${fill} ${fill % 30}M 192k`)
  const next = request(await volume.point(), { backup: before.of.backup, point: before.source, whyNot: null })
  await killedAt(point, victim, () => moverOf(agent).writeBackup(access, next))
  const listed = await moverOf(agent).listBackups(access)
  const whole = await moverOf(agent).hasBackup(access, next.of)
  expect(listed.some(({ backup }) => backup === next.of.backup)).toBe(whole)
  if (point === 'mover.manifest.after-put' || point === 'agent.mover.before-answer') expect(whole).toBe(true)
  const outcome = await moverOf(agent).writeBackup(access, next)
  expect(outcome.base).toBe(before.of.backup)
  before = next
  const target = await volume.target()
  await moverOf(agent).restoreBackup(access, { of: next.of, rootHash: outcome.rootHash, target })
  expect((await volume.bytesOf(target.layer)).equals(await volume.bytesOf(next.source.point.layer))).toBe(true)
})

test.each(cases(ofRestoring))('a restore: the %s is killed at %s', async (victim, point) => {
  const { rootHash } = await moverOf(agent).writeBackup(access, before)
  const target = await volume.target()
  const restore = { of: before.of, rootHash, target }
  await killedAt(point, victim, () => moverOf(agent).restoreBackup(access, restore))
  await moverOf(agent).restoreBackup(access, restore)
  expect((await volume.bytesOf(target.layer)).equals(await volume.bytesOf(before.source.point.layer))).toBe(true)
})

test('a removal: the mover is killed after the first object; removing again removes the rest', async () => {
  const next = request(await volume.point(), null)
  await moverOf(agent).writeBackup(access, next)
  await killedAt('mover.object.after-remove', 'mover', () => moverOf(agent).discardBackup(access, next.of))
  await moverOf(agent).discardBackup(access, next.of)
  expect(await moverOf(agent).hasBackup(access, next.of)).toBe(false)
  expect((await moverOf(agent).verify(access, null)).damage).toEqual([])
})
