/**
 * Places where tests may kill, hold or fail a real process. Armed only by the environment, read once:
 * `COMEBACK_FAILPOINTS="agent.pivot.before-transaction=kill,agent.start.after-spawn=error@2"` (`@2`: the second time it is
 * passed). `kill` sends SIGKILL to the own process, `pause` stays there for good, `error` throws.
 *
 * `COMEBACK_FAILPOINTS_DIR` names a directory in which points are armed while processes run: a file named after the point, with
 * the action in it. A process that gets there renames the file to `<point>.reached`, and only then acts; `pause` ends when that
 * file is gone. So a test sees where a process stands, and a process that was killed there passes when it is started again.
 */
import { readFileSync, renameSync } from 'node:fs'
import { access } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'

export const failpoints = [
  'agent.start.before-record',
  'agent.start.before-spawn',
  'agent.start.after-spawn',
  'agent.start.after-record',
  'agent.stop.before-record',
  'agent.stop.after-record',
  'agent.stop.after-ask',
  'agent.stop.before-quit',
  'agent.stop.after-gone',
  'agent.pivot.before-overlays',
  'agent.pivot.after-overlays',
  'agent.pivot.before-freeze',
  'agent.pivot.after-freeze',
  'agent.pivot.before-transaction',
  'agent.pivot.after-transaction',
  'agent.pivot.after-thaw',
  'agent.pivot.after-record',
  'agent.pause.after-record',
  'agent.pause.after-stop',
  'agent.resume.after-cont',
  'agent.attach.before-add',
  'agent.attach.after-node',
  'agent.attach.after-device',
  'agent.detach.after-request',
  'agent.detach.after-device',
  'agent.resize.after-resize',
  'agent.merge.before-job',
  'agent.merge.after-job',
  'agent.merge.before-finalize',
  'agent.merge.after-finalize',
  'agent.merge.after-record',
  'agent.mover.before-spawn',
  'agent.mover.after-spawn',
  'agent.mover.before-answer',
  'mover.object.before-put',
  'mover.object.after-put',
  'mover.manifest.before-put',
  'mover.manifest.after-put',
  'mover.object.after-remove',
  'mover.restore.before-flush',
  'mover.restore.after-flush',
  'agent.epoch.before-write',
  'agent.epoch.after-write',
  'agent.call.before',
  'agent.call.after',
] as const

/** Points inside sagas are named after the registry: `sagas/engine/failpoints.ts` lists those of a saga. */
export type SagaFailpoint = `saga.${string}.${string}.${string}`

export type Failpoint = (typeof failpoints)[number] | SagaFailpoint

const ofSaga = /^saga(\.[A-Za-z-]+){3}$/

type Action = 'kill' | 'pause' | 'error'
type Armed = { readonly action: Action; passesLeft: number }

const armed = new Map<string, Armed>()
const passes = new Map<string, number>()
const directory = process.env['COMEBACK_FAILPOINTS_DIR']

/** Arms what the text says; refuses names that are not registered. */
export function armFailpoints(text: string): void {
  for (const part of text.split(',').filter((word) => word !== '')) {
    const [name = '', what = ''] = part.trim().split('=')
    const known: readonly string[] = failpoints
    const point = parse(what)
    if (point === null || !(known.includes(name) || ofSaga.test(name)))
      throw new Error(`COMEBACK_FAILPOINTS: '${part}' is no known failpoint`)
    armed.set(name, point)
  }
}

function parse(what: string): Armed | null {
  const found = /^(kill|pause|error)(?:@(\d+))?$/.exec(what.trim())
  const action = found?.[1]
  if (action !== 'kill' && action !== 'pause' && action !== 'error') return null
  return { action, passesLeft: Number(found?.[2] ?? 1) }
}

armFailpoints(process.env['COMEBACK_FAILPOINTS'] ?? '')

export async function failpoint(name: Failpoint): Promise<void> {
  if (directory !== undefined) await armedInDirectory(directory, name)
  const point = armed.get(name)
  if (point === undefined || --point.passesLeft > 0) return
  if (point.action === 'error') armed.delete(name)
  await act(name, point.action, () => new Promise(() => setInterval(() => undefined, 2 ** 30)))
}

async function act(name: Failpoint, action: Action, hold: () => Promise<void>): Promise<void> {
  if (action === 'kill') process.kill(process.pid, 'SIGKILL')
  if (action === 'error') throw new Error(`failpoint ${name}`)
  await hold()
}

async function armedInDirectory(where: string, name: Failpoint): Promise<void> {
  const file = join(where, name)
  const reached = `${file}.reached`
  try {
    const point = parse(readFileSync(file, 'utf8'))
    const pass = (passes.get(name) ?? 0) + 1
    passes.set(name, pass)
    if (point === null || pass < point.passesLeft) return
    passes.delete(name)
    renameSync(file, reached)
    await act(name, point.action, async () => {
      while (
        await access(reached).then(
          () => true,
          () => false,
        )
      )
        await wait(5)
    })
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
  }
}
