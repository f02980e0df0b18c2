import { type Command, Option } from 'commander'
import { z } from 'zod'
import { Refused } from '../../../contract/client.ts'
import { endpoints } from '../../../contract/index.ts'
import type { OperationView } from '../../../contract/operations.ts'
import { type PreflightView, type RollbackTarget, rollbackKind, rollbackResult } from '../../../contract/rollbacks.ts'
import { type Adder, action, count, examples, several, type Waiting, waitable } from '../command.ts'
import { exitCodes, failed, Stop, usage } from '../exit.ts'
import { findInstance, findNode, isId } from '../find.ts'
import { clean, duration, fields, size, table, when } from '../output.ts'
import { awaitEnd, mustBeDone } from '../progress.ts'
import type { Session } from '../session.ts'

type How = {
  readonly disk?: string[]
  readonly power: 'on' | 'off' | 'as-before'
  readonly hard?: boolean
  readonly stopSeconds: number
  readonly skipSafetySnapshot?: boolean
}

const power = () => new Option('--power <state>', 'power state afterwards').choices(['on', 'off', 'as-before'] as const)

const diskOption = ['--disk <device>', 'only this disk, by device or volume id; may be repeated', several] as const

const rollbackOptions = (command: Command): Command =>
  command
    .option(...diskOption)
    .addOption(power().default('on'))
    .option('--hard', 'stop it at once instead of asking the guest to shut down')
    .option('--stop-seconds <seconds>', 'how long the guest may take to shut down', count, 60)
    .option('--skip-safety-snapshot', 'do not keep what the disks hold now: it is lost for good')

export const rollbackCommands: Adder = (program, terminal) => {
  waitable(rollbackOptions(program.command('rollback')))
    .summary('roll an instance back in place')
    .description(
      'Rolls an instance back in place to any of its snapshots: instance snapshot, volume snapshot or safety snapshot.\n' +
        'All disks change or none. What they hold now is kept as a safety snapshot, so that `comeback undo` takes it back.',
    )
    .argument('<instance>', 'name or id')
    .argument('<snapshot>', 'name or id, as `comeback snapshots` shows them')
    .addHelpText(
      'after',
      examples(
        'rollback web before-upgrade',
        'rollback web before-upgrade --disk vdb --hard',
        'rollback web 8d7e… --power off --yes --no-wait',
      ),
    )
    .action(action(terminal, rollBack))

  rollbackOptions(program.command('preflight'))
    .summary('say whether a rollback would go through')
    .description(
      'Says whether a rollback would go through and what it would do. Changes nothing. Exit code 0: it would; 1: it would not.',
    )
    .argument('<instance-or-snapshot>', 'instance by name or id; or a snapshot id alone, and its instance is found')
    .argument('[snapshot]', 'name or id')
    .addHelpText('after', examples('preflight web before-upgrade', 'preflight 8d7e0c1e-… -o json'))
    .action(action(terminal, preflight))

  waitable(program.command('undo'))
    .summary('take a rollback back')
    .description('Takes a rollback or revert back, by its safety snapshots. Undoing an undo is the rollback again.')
    .argument('<operation-or-instance>', 'id of the operation; or an instance, whose latest rollback is meant')
    .option(...diskOption)
    .addOption(power().default('as-before'))
    .option('--hard', 'stop it at once instead of asking the guest to shut down')
    .option('--stop-seconds <seconds>', 'how long the guest may take to shut down', count, 60)
    .addHelpText('after', examples('undo web', 'undo 5f0c2a8e-…'))
    .action(action(terminal, undo))
}

async function rollBack(session: Session, options: How & Waiting, instanceName: string, snapshotName: string): Promise<void> {
  const instance = await findInstance(session, instanceName)
  const node = findNode(await treeOf(session, instance.id), snapshotName)
  const request = { params: { instance: instance.id }, body: bodyOf(node.to, options) }
  await session.confirm(await consequence(session, request, options))
  const { operation } = await session.client.call(endpoints.rollBackInstance, request).catch(tellDisks(session))
  await finish(session, operation, options, `${clean(instance.name)} is back at ${clean(node.name)}`)
}

async function preflight(session: Session, options: How, first: string, second: string | undefined): Promise<void> {
  const found = await (second === undefined
    ? fromSnapshot(session, first, options)
    : fromInstance(session, first, second, options))
  session.print(found, drawPreflight)
  if (!found.can_rollback) throw new Stop(exitCodes.failed, 'preflightFailed', 'It would not go through.')
}

async function fromInstance(
  session: Session,
  instanceName: string,
  snapshotName: string,
  options: How,
): Promise<PreflightView> {
  const { id } = await findInstance(session, instanceName)
  const { to } = findNode(await treeOf(session, id), snapshotName)
  return await session.client.call(endpoints.preflightInstance, { params: { instance: id }, body: bodyOf(to, options) })
}

/** An id alone may be that of an instance snapshot or of a volume snapshot. */
async function fromSnapshot({ client }: Session, id: string, options: How): Promise<PreflightView> {
  if (!isId(id)) throw usage('With one argument it must be the id of a snapshot. Name the instance too, or give the id.')
  const first = await client.call(endpoints.preflightSnapshot, { body: bodyOf({ instance_snapshot: id }, options) })
  if (!first.errors.some(({ code }) => code === 'snapshotUnusable')) return first
  const second = await client.call(endpoints.preflightSnapshot, { body: bodyOf({ snapshots: [id] }, options) })
  return second.errors.some(({ code }) => code === 'snapshotUnusable') ? first : second
}

async function undo(
  session: Session,
  options: Pick<How, 'disk' | 'power' | 'hard' | 'stopSeconds'> & Waiting,
  what: string,
): Promise<void> {
  const { id, created_at } = await operationToUndo(session, what)
  await session.confirm(
    `The rollback of ${when(created_at)} will be taken back. What the disks hold now is kept as a safety snapshot.`,
  )
  const { operation } = await session.client
    .call(endpoints.undoOperation, {
      params: { operation: id },
      body: {
        power_state_after: options.power,
        stop: options.hard ? 'hard' : 'graceful',
        stop_seconds: options.stopSeconds,
        ...(options.disk ? { disks: options.disk } : {}),
      },
    })
    .catch(tellDisks(session))
  await finish(session, operation, options, `The rollback of ${when(created_at)} is taken back`)
}

async function operationToUndo(session: Session, what: string): Promise<OperationView> {
  const { client } = session
  if (isId(what)) {
    const operation = await client.call(endpoints.showOperation, { params: { operation: what } }).catch(notFound)
    if (operation) return operation
  }
  const instance = await findInstance(session, what)
  const query = { instance: instance.id, kind: rollbackKind, state: 'done', limit: 1 } as const
  const { items } = await client.call(endpoints.listOperations, { query })
  if (!items[0]) throw failed('nothingToUndo', `${clean(instance.name)} was never rolled back, so there is nothing to undo.`)
  return items[0]
}

const findings = z.array(z.object({ facts: z.object({ disks: z.array(z.string()) }).optional() }))

/** A refusal because of some disks says by which options the others would go through. */
const tellDisks =
  (session: Session) =>
  (error: unknown): never => {
    const errors = error instanceof Refused ? findings.safeParse(error.facts['errors']).data : undefined
    const disks = errors?.find(({ facts }) => facts)?.facts?.disks
    if (disks && !session.json)
      session.say(`The others would go through with: ${disks.map((disk) => `--disk ${disk}`).join(' ')}`)
    throw error
  }

function notFound(error: unknown): null {
  if (error instanceof Error && 'code' in error && error.code === 'notFound') return null
  throw error
}

async function finish(session: Session, operation: OperationView, { wait }: Waiting, achieved: string): Promise<void> {
  if (!wait) return session.print(operation, ({ id }) => `Accepted. See how it goes: comeback watch ${id}`)
  const ended = await awaitEnd(session, operation)
  session.print(ended, () => {
    mustBeDone(ended)
    const result = rollbackResult.safeParse(ended.result)
    if (!result.success) return `${achieved}.`
    const { volumes_reverted, duration_seconds, phases, power_state, safety_snapshots } = result.data
    const parts = Object.entries(phases).map(([name, seconds]) => `${clean(name)} ${duration(seconds)}`)
    const lines = [
      `${achieved}: ${volumes_reverted.length} disk(s), ${duration(duration_seconds)} (${parts.join(', ')}), power ${power_state}.`,
      safety_snapshots.length > 0
        ? `To take it back: comeback undo ${ended.id}`
        : 'No safety snapshot was kept: it cannot be taken back.',
    ]
    return lines.join('\n')
  })
  mustBeDone(ended)
}

async function consequence(
  { client, terminal }: Session,
  request: Parameters<typeof client.call<typeof endpoints.preflightInstance>>[1],
  { skipSafetySnapshot }: How,
): Promise<string> {
  if (!terminal.in.isTTY) return ''
  const { volumes, instance_name, estimated_downtime_seconds } = await client.call(endpoints.preflightInstance, request)
  const disks = volumes.map(({ device }) => device).join(', ')
  const kept = skipSafetySnapshot ? 'is LOST FOR GOOD' : 'is kept as a safety snapshot'
  return `${clean(instance_name ?? '')} will be rolled back on ${disks || 'no disk'} and be off for about ${duration(estimated_downtime_seconds)}. What the disks hold now ${kept}.`
}

const treeOf = ({ client }: Session, instance: string) => client.call(endpoints.showSnapshotTree, { params: { instance } })

const bodyOf = (to: RollbackTarget, { disk, power, hard, stopSeconds, skipSafetySnapshot }: How) => ({
  to,
  ...(disk ? { disks: disk } : {}),
  power_state_after: power,
  skip_safety_snapshot: skipSafetySnapshot === true,
  stop: hard ? ('hard' as const) : ('graceful' as const),
  stop_seconds: stopSeconds,
})

function drawPreflight(found: PreflightView): string {
  const summary = fields({
    'can roll back': found.can_rollback ? 'yes' : 'no',
    instance: found.instance === null ? null : `${found.instance_name} (${found.instance})`,
    snapshot: found.snapshot,
    backend: found.backend,
    'downtime about': duration(found.estimated_downtime_seconds),
  })
  const volumes = table(
    ['device', 'volume', 'size', 'snapshot', 'snapshot size'],
    found.volumes.map((one) => [one.device, one.volume, size(one.size_bytes), one.snapshot, size(one.snapshot_size_bytes)]),
  )
  const findings = [
    ...found.errors.map(({ message, transient }) => `Error: ${clean(message)}${transient ? ' (may pass)' : ''}`),
    ...found.warnings.map(({ message }) => `Warning: ${clean(message)}`),
  ]
  return [summary, ...(found.volumes.length > 0 ? ['', volumes] : []), ...(findings.length > 0 ? ['', ...findings] : [])].join(
    '\n',
  )
}
