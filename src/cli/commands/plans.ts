import { endpoints } from '../../../contract/index.ts'
import type { PlanView } from '../../../contract/plans.ts'
import { type Adder, action, count, examples } from '../command.ts'
import { findPlan } from '../find.ts'
import { clean, duration, table } from '../output.ts'
import type { Session } from '../session.ts'

export const planCommands: Adder = (program, terminal) => {
  const plans = program.command('plans').description('Lists the plans of volumes; administrators make and change them.')
  plans
    .command('list', { isDefault: true })
    .description('Lists plans: what a volume may keep, and how soon again.')
    .addHelpText('after', examples('plans', 'plans -o json'))
    .action(action(terminal, list))
  for (const [verb, what, run] of [
    ['create', 'Makes a plan (administrators).', create],
    ['change', 'Changes a plan for all its volumes at once (administrators).', change],
  ] as const)
    plans
      .command(verb)
      .description(what)
      .argument('<plan>', verb === 'create' ? 'its name' : 'name or id')
      .option('--max-snapshots <count>', 'snapshots a volume may keep', count)
      .option('--max-backups <count>', 'backups a volume may keep', count)
      .option('--cooldown <seconds>', 'pause after a snapshot, backup or restore', count)
      .addHelpText('after', examples(`plans ${verb} gold --max-snapshots 20 --cooldown 60`))
      .action(action(terminal, run))
  plans
    .command('delete')
    .description('Deletes a plan that no volume is in (administrators).')
    .argument('<plan>', 'name or id')
    .addHelpText('after', examples('plans delete gold'))
    .action(action(terminal, remove))
}

type Terms = { maxSnapshots?: number; maxBackups?: number; cooldown?: number }

const bodyOf = ({ maxSnapshots, maxBackups, cooldown }: Terms) => ({
  ...(maxSnapshots === undefined ? {} : { max_snapshots: maxSnapshots }),
  ...(maxBackups === undefined ? {} : { max_backups: maxBackups }),
  ...(cooldown === undefined ? {} : { cooldown_seconds: cooldown }),
})

const draw = (plans: readonly PlanView[]) =>
  table(
    ['id', 'name', 'snapshots', 'backups', 'cooldown'],
    plans.map((one) => [one.id, one.name, one.max_snapshots, one.max_backups, duration(one.cooldown_seconds)]),
  )

async function list(session: Session): Promise<void> {
  session.print(await session.client.call(endpoints.listPlans, {}), ({ items }) => draw(items))
}

async function create(session: Session, terms: Terms, name: string): Promise<void> {
  const made = await session.client.call(endpoints.createPlan, { body: { name, ...bodyOf(terms) } })
  session.print(made, (plan) => draw([plan]))
}

async function change(session: Session, terms: Terms, name: string): Promise<void> {
  const { id: plan } = await findPlan(session, name)
  const changed = await session.client.call(endpoints.changePlan, { params: { plan }, body: bodyOf(terms) })
  session.print(changed, (row) => draw([row]))
}

async function remove(session: Session, _options: object, name: string): Promise<void> {
  const plan = await findPlan(session, name)
  await session.confirm(`Plan ${clean(plan.name)} will be deleted.`)
  await session.client.call(endpoints.deletePlan, { params: { plan: plan.id } })
  session.print({ deleted: plan.id }, () => `Deleted: ${clean(plan.name)}`)
}
