/**
 * Places where tests may kill, hold or fail a real process. Armed only by the environment, read once:
 * `COMEBACK_FAILPOINTS="agent.pivot.before-transaction=kill,agent.start.after-spawn=error@2"` (`@2`: the second time it is
 * passed). `kill` sends SIGKILL to the own process, `pause` stays there for good, `error` throws.
 */
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
  'agent.epoch.before-write',
  'agent.epoch.after-write',
  'agent.call.before',
  'agent.call.after',
] as const

/** Points inside sagas are named after the registry: `sagas/engine/failpoints.ts` lists those of a saga. */
export type SagaFailpoint = `saga.${string}.${string}.${string}`

export type Failpoint = (typeof failpoints)[number] | SagaFailpoint

const ofSaga = /^saga(\.[A-Za-z-]+){3}$/

type Armed = { readonly action: 'kill' | 'pause' | 'error'; passesLeft: number }

const armed = new Map<string, Armed>()

/** Arms what the text says; refuses names that are not registered. */
export function armFailpoints(text: string): void {
  for (const part of text.split(',').filter((word) => word !== '')) {
    const found = /^([A-Za-z0-9.-]+)=(kill|pause|error)(?:@(\d+))?$/.exec(part.trim())
    const known: readonly string[] = failpoints
    if (!found?.[1] || !(known.includes(found[1]) || ofSaga.test(found[1])))
      throw new Error(`COMEBACK_FAILPOINTS: '${part}' is no known failpoint`)
    const action = found[2] === 'kill' || found[2] === 'pause' ? found[2] : 'error'
    armed.set(found[1], { action, passesLeft: Number(found[3] ?? 1) })
  }
}

armFailpoints(process.env['COMEBACK_FAILPOINTS'] ?? '')

export async function failpoint(name: Failpoint): Promise<void> {
  const point = armed.get(name)
  if (point === undefined || --point.passesLeft > 0) return
  if (point.action === 'kill') process.kill(process.pid, 'SIGKILL')
  if (point.action === 'error') {
    armed.delete(name)
    throw new Error(`failpoint ${name}`)
  }
  await new Promise(() => setInterval(() => undefined, 2 ** 30))
}
