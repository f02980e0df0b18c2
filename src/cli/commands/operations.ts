import { setTimeout as wait } from 'node:timers/promises'
import { Option } from 'commander'
import { Refused } from '../../../contract/client.ts'
import { endpoints } from '../../../contract/index.ts'
import type { OperationEventView, OperationView, OperationWithSteps } from '../../../contract/operations.ts'
import { operationStateNames } from '../../../contract/operations.ts'
import { type Adder, action, count, examples } from '../command.ts'
import { exitCodes, Stop, usage } from '../exit.ts'
import { findInstance, isId } from '../find.ts'
import { clean, doing, duration, fields, table, when } from '../output.ts'
import { awaitEnd, eventLine, mustBeDone } from '../progress.ts'
import type { Session } from '../session.ts'

export const operationCommands: Adder = (program, terminal) => {
  const operations = program.command('operations').description('Lists, shows and ends operations.')
  operations
    .command('list', { isDefault: true })
    .description('Lists operations, latest first.')
    .option('--active', 'only those that have not ended')
    .option('--instance <instance>', 'only those of this instance, by name or id')
    .addOption(new Option('--state <state>', 'only those in this state').choices(operationStateNames))
    .option('--all-projects', 'of all projects (administrators)')
    .option('--limit <count>', 'at most so many', count, 50)
    .addHelpText(
      'after',
      examples('operations', 'operations --active --instance web', 'operations list --state stuck --all-projects'),
    )
    .action(action(terminal, list))
  const one = (name: string, description: string, run: (session: Session, id: string) => Promise<void>) =>
    operations
      .command(name)
      .description(description)
      .argument('<operation>', 'id')
      .addHelpText('after', examples(`operations ${name} 5f0c2a8e-…`))
      .action(action(terminal, (session, _options: object, id: string) => run(session, mustBeId(id))))
  one('show', 'Shows an operation and its steps.', show)
  one('cancel', 'Asks an operation to go back, if it still can.', cancel)
  one('force-end', 'Ends a stuck operation (administrators). Its layers are set aside, its locks are freed.', forceEnd)

  program
    .command('watch')
    .summary('follow operations live')
    .description(
      'Follows an operation to its end, or all operations of the project until interrupted. With -o json: a line of JSON an event.',
    )
    .argument('[operation]', 'id')
    .option('--all-projects', 'of all projects (administrators)')
    .addHelpText('after', examples('watch', 'watch 5f0c2a8e-…', 'watch -o json | jq .type'))
    .action(action(terminal, watch))
}

function mustBeId(text: string): string {
  if (isId(text)) return text
  throw usage(`'${clean(text)}' is not the id of an operation; see: comeback operations`)
}

const restsWithinMs = 30_000

/** A stuck operation is tried again now and then, and cannot be ended in the middle of that. */
async function whenItRests<Value>(attempt: () => Promise<Value>): Promise<Value> {
  for (const until = Date.now() + restsWithinMs; ; await wait(200)) {
    try {
      return await attempt()
    } catch (error) {
      const passing = error instanceof Refused && error.facts['state'] === 'undoing'
      if (!passing || Date.now() > until) throw error
    }
  }
}

type ListOptions = { active?: boolean; instance?: string; state?: OperationView['state']; allProjects?: boolean; limit: number }

async function list(session: Session, { active, instance, state, allProjects, limit }: ListOptions): Promise<void> {
  const found = instance === undefined ? undefined : await findInstance(session, instance)
  const query = {
    limit,
    ...(active ? { active: 'true' as const } : {}),
    ...(allProjects ? { all_projects: 'true' as const } : {}),
    ...(found ? { instance: found.id } : {}),
    ...(state ? { state } : {}),
  }
  const page = await session.client.call(endpoints.listOperations, { query })
  session.print(page, ({ items }) =>
    table(
      ['id', 'kind', 'state', 'instance', 'started', 'took', 'problem'],
      items.map((one) => [
        one.id,
        doing(one.kind),
        one.state,
        one.instance,
        when(one.created_at),
        took(one),
        one.problem?.message,
      ]),
    ),
  )
}

const took = ({ created_at, ended_at }: OperationView): string | null =>
  ended_at === null ? null : duration((Date.parse(ended_at) - Date.parse(created_at)) / 1000)

async function show(session: Session, id: string): Promise<void> {
  session.print(await session.client.call(endpoints.showOperation, { params: { operation: id } }), draw)
}

function draw(operation: OperationWithSteps): string {
  const { id, kind, state, instance, request_id, created_at, ended_at, problem, warnings, steps } = operation
  const facts = fields({
    id,
    kind: doing(kind),
    state,
    instance,
    request: request_id,
    created: when(created_at),
    ended: when(ended_at),
    took: took(operation),
    problem: problem?.message,
    warnings: warnings.map(({ message }) => message).join('; ') || null,
  })
  const rows = steps.map((step) => [
    step.name,
    step.state,
    step.attempt,
    seconds(step.started_at, step.ended_at),
    step.problem?.message,
  ])
  return steps.length === 0 ? facts : `${facts}\n\n${table(['step', 'state', 'attempt', 'took', 'problem'], rows)}`
}

const seconds = (from: string, to: string | null) => (to === null ? null : duration((Date.parse(to) - Date.parse(from)) / 1000))

async function cancel(session: Session, id: string): Promise<void> {
  const operation = await session.client.call(endpoints.cancelOperation, { params: { operation: id } })
  session.print(operation, () => `Asked to go back. See how it ends: comeback watch ${id}`)
}

async function forceEnd(session: Session, id: string): Promise<void> {
  await session.confirm(
    `Operation ${id} will be ended where it is. Its layers are set aside; look at the disks before they are used again.`,
  )
  const operation = await whenItRests(() => session.client.call(endpoints.forceEndOperation, { params: { operation: id } }))
  session.print(operation, ({ state }) => `Operation ${id} is ${state}.`)
}

async function watch(session: Session, { allProjects }: { allProjects?: boolean }, id: string | undefined): Promise<void> {
  if (id !== undefined && !session.json) {
    const operation = await session.client.call(endpoints.showOperation, { params: { operation: mustBeId(id) } })
    const ended = mustBeDone(await awaitEnd(session, operation))
    return session.print(ended, draw as (operation: OperationView) => string)
  }
  const { terminal, client } = session
  const how = { signal: terminal.interrupted }
  const events =
    id === undefined
      ? client.follow(endpoints.watchOperations, { query: allProjects ? { all_projects: 'true' } : {} }, how)
      : client.follow(endpoints.watchOperation, { params: { operation: mustBeId(id) } }, how)
  if (id === undefined) session.say('Watching; Ctrl-C ends it.')
  await writeAll(session, events)
  if (id !== undefined) mustBeDone(await client.call(endpoints.showOperation, { params: { operation: id } }))
}

async function writeAll({ terminal, json }: Session, events: AsyncIterable<OperationEventView>): Promise<void> {
  try {
    for await (const event of events) terminal.out.write(`${json ? JSON.stringify(event) : eventLine(event)}\n`)
  } catch (error) {
    if (!terminal.interrupted.aborted) throw error
    throw new Stop(exitCodes.interrupted, 'interrupted', 'Interrupted.')
  }
}
